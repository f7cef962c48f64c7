"""The two joins, over either engine."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openthoughts.similarity import plain
from openthoughts.similarity.pairs import Pairs, concatenate

Rule = Literal["kept", "any"]
"""Whom a text is compared with: earlier texts that were ``kept``, or ``any`` earlier text."""

Engine = Literal["auto", "compiled", "plain"]
"""``auto`` is the compiled engine, unless the work is too little to load it for or Numba does not run here."""

_BLOCK = 4096
_FEW_PAIRS = 500_000
_SMALLEST_STEP = 256
_LARGEST_STEP = 8192
_MANY_PAIRS = 1_000_000
_HEAD = 256
_ROWS = 2048

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Matches:
    """Pairs of similar texts, sorted by ``left``, then ``right``; ``score`` is ``fuzz.ratio``, 0 to 100."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.left)


@dataclass(frozen=True)
class Duplicates:
    """For every text, the position of the earlier text it is dropped for (-1: it is kept), and their score."""

    twin: NDArray[np.int64]
    score: NDArray[np.float64]


class Join:
    """Texts that others are compared with, prepared once."""

    def __init__(
        self, right: Sequence[str], threshold: float, *, rows: int, threads: int = 0, engine: Engine = "auto"
    ) -> None:
        """Prepare to compare about ``rows`` texts in all with ``right``; see ``join`` for the rest."""
        self._target = _module(engine, rows * len(right)).Target(right, threshold)
        self._threads = threads or available_processors()

    def matches(self, left: Sequence[str], block: int = _BLOCK) -> Iterator[Matches]:
        """All pairs of ``left`` and the prepared texts, ``block`` texts of ``left`` at a time, in their order."""
        waiting: deque[Future[Matches]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for start in range(0, len(left), block):
                waiting.append(pool.submit(self._compare, left, start, block))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _compare(self, left: Sequence[str], start: int, block: int) -> Matches:
        rows, columns, scores = _sorted(self._target.pairs(left[start : start + block]))
        return Matches(rows + start, columns, scores)


def join(
    left: Sequence[str],
    right: Sequence[str],
    threshold: float,
    *,
    block: int = _BLOCK,
    threads: int = 0,
    engine: Engine = "auto",
) -> Iterator[Matches]:
    """Every pair of ``left`` and ``right`` that scores at least ``threshold``, in blocks of ``left``.

    Each item holds all the pairs of ``block`` consecutive texts of ``left``, so memory does not grow with their number.
    ``threads`` 0 means one for each processor that this process may use. Neither they nor the engine change the result.
    """
    return Join(right, threshold, rows=len(left), threads=threads, engine=engine).matches(left, block)


def first_similar(
    texts: Sequence[str], threshold: float, rule: Rule = "kept", *, threads: int = 0, engine: Engine = "auto"
) -> Duplicates:
    """Decide, in the order of ``texts``, which are dropped for an earlier one that scores at least ``threshold``.

    The texts have to be in order of length, longest first (equal lengths in any order). A dropped text's twin is the
    first earlier *kept* text that is similar to it. Under the rule ``any`` a text is dropped also where only earlier
    texts are similar that were themselves dropped; its twin is then the first of those.
    """
    lengths = [len(text) for text in texts]
    if any(longer < shorter for longer, shorter in itertools.pairwise(lengths)):
        raise ValueError("the texts are not in order of length, longest first")
    pool = _module(engine, len(texts) ** 2).Pool(texts, threshold)
    with ThreadPoolExecutor(threads or available_processors()) as workers:
        return _Deduplication(pool, lengths, rule, workers).run()


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _module(engine: Engine, pairs: int) -> ModuleType:
    if engine == "plain" or (engine == "auto" and pairs <= _FEW_PAIRS):
        return plain
    try:
        return importlib.import_module("openthoughts.similarity.engine")
    except ImportError:
        if engine == "compiled":
            raise
        log.warning("Numba does not run here: comparing without compiled kernels, which takes much longer")
        return plain


@dataclass(frozen=True)
class _Piece:
    """Some texts that were added before, and the length of the shortest text that one of them can be similar to."""

    tiles: Any
    reach: int


class _Shelf:
    """Texts that later ones are compared with, in pieces; those out of reach of all later ones are put away."""

    def __init__(self, pool: Any, lengths: Sequence[int], workers: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._lengths = lengths
        self._workers = workers
        self._pieces: list[_Piece] = []
        self._open: list[int] = []

    def add(self, members: list[int]) -> None:
        """Put texts on the shelf, in their order."""
        self._open.extend(members)
        while len(self._open) >= _LARGEST_STEP:
            self._pieces.append(self._piece(self._open[:_LARGEST_STEP]))
            del self._open[:_LARGEST_STEP]

    def pairs(self, rows: NDArray[np.int64]) -> Pairs:
        """Similar pairs of later texts ``rows`` and texts on the shelf."""
        if len(rows) == 0:
            return concatenate([])
        longest = self._lengths[rows[0]]
        self._pieces = [piece for piece in self._pieces if piece.reach <= longest]
        pieces = [*self._pieces, *([self._piece(self._open)] if self._open else [])]
        return concatenate(list(self._workers.map(lambda piece: self._pool.pairs(rows, piece.tiles, False), pieces)))

    def _piece(self, members: list[int]) -> _Piece:
        reach = self._pool.shortest_similar(self._lengths[members[-1]])
        return _Piece(self._pool.tiles(np.array(members, dtype=np.int64)), reach)


class _Deduplication:
    """Goes through the texts in steps: first against those kept before, then those that are left among themselves.

    How many texts a step takes changes no result: it shrinks where there are many similar pairs, which bounds memory.
    """

    def __init__(self, pool: Any, lengths: Sequence[int], rule: Rule, workers: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._rule = rule
        self._workers = workers
        self._kept = _Shelf(pool, lengths, workers)
        self._dropped = _Shelf(pool, lengths, workers)
        self._twin = np.full(len(lengths), -1, dtype=np.int64)
        self._score = np.zeros(len(lengths), dtype=np.float64)

    def run(self) -> Duplicates:
        start, step, next_report = 0, 2 * _SMALLEST_STEP, 100_000
        while start < len(self._twin):
            end = min(len(self._twin), start + step)
            pairs = self._step(np.arange(start, end))
            step = max(_SMALLEST_STEP, step // 2) if pairs > _MANY_PAIRS else min(_LARGEST_STEP, 2 * step)
            start = end
            if start >= next_report:
                log.info("compared %d of %d texts", start, len(self._twin))
                next_report += 100_000
        return Duplicates(self._twin, self._score)

    def _step(self, rows: NDArray[np.int64]) -> int:
        """Decide on some texts, all before them being decided; the number of similar pairs that were found for it."""
        before = self._kept.pairs(rows)
        self._drop_for_first(before)
        left = self._not_dropped(rows)
        found = len(before[0]) + (self._settle(left) if self._rule == "kept" else self._settle_with_dropped(left, rows))
        kept = self._not_dropped(rows)
        self._kept.add(kept.tolist())
        if self._rule == "any":
            self._dropped.add(np.setdiff1d(rows, kept).tolist())
        return found

    def _settle(self, left: NDArray[np.int64]) -> int:
        """Decide on texts that are similar to none kept before, a few at a time.

        Whatever is similar to the few that are kept of those is dropped at once, so that of many texts that are all
        similar only few pairs are ever looked at.
        """
        found = 0
        while len(left):
            head, left = left[:_HEAD], left[_HEAD:]
            among = self._pool.pairs(head, self._pool.tiles(head), True)
            self._resolve(among)
            tiles = self._pool.tiles(self._not_dropped(head))
            parts = [left[start : start + _ROWS] for start in range(0, len(left), _ROWS)]
            later = concatenate(list(self._workers.map(self._pool.pairs, parts, repeat(tiles), repeat(False))))
            self._drop_for_first(later)
            left = self._not_dropped(left)
            found += len(among[0]) + len(later[0])
        return found

    def _settle_with_dropped(self, left: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
        """Decide on texts of ``rows`` that are similar to none kept before, but may be to one that was dropped."""
        dropped = self._dropped.pairs(left)
        among = self._pool.pairs(left, self._pool.tiles(rows), True) if len(left) else concatenate([])
        self._resolve(concatenate([dropped, among]))
        return len(dropped[0]) + len(among[0])

    def _not_dropped(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[self._twin[rows] < 0]

    def _drop_for_first(self, pairs: Pairs) -> None:
        rows, members, scores = _sorted(pairs)
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        self._twin[rows[first]] = members[first]
        self._score[rows[first]] = scores[first]

    def _resolve(self, pairs: Pairs) -> None:
        """Decide text by text, since each depends on what became of those before it."""
        rows, members, scores = _sorted(pairs)
        bounds = np.flatnonzero(np.diff(rows, prepend=-1, append=-1))
        for start, end in itertools.pairwise(bounds):
            kept = start + np.flatnonzero(self._twin[members[start:end]] < 0)
            if len(kept) or self._rule == "any":
                first = kept[0] if len(kept) else start
                self._twin[rows[start]], self._score[rows[start]] = members[first], scores[first]


def _sorted(pairs: Pairs) -> Pairs:
    rows, members, scores = pairs
    order = np.lexsort((members, rows))
    return rows[order], members[order], scores[order]
