"""The two joins, over either engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lib.similarity import plain

Rule = Literal["kept", "any"]
"""Whom a text is compared with: earlier texts that were ``kept``, or ``any`` earlier text."""


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


def join(left: Sequence[str], right: Sequence[str], threshold: float, block: int = 8192) -> Iterator[Matches]:
    """Every pair of ``left`` and ``right`` that scores at least ``threshold``, in blocks of ``left``.

    A block holds all the pairs of ``block`` consecutive texts of ``left``, so memory does not grow with their number.
    """
    for start in range(0, len(left), block):
        rows, columns, scores = plain.similar_pairs(left[start : start + block], right, threshold)
        order = np.lexsort((columns, rows))
        yield Matches(rows[order] + start, columns[order], scores[order])


def first_similar(texts: Sequence[str], threshold: float, rule: Rule = "kept") -> Duplicates:
    """Decide, in the order of ``texts``, which are dropped for an earlier one that scores at least ``threshold``.

    A dropped text's twin is the first earlier *kept* text that is similar to it. Under the rule ``any`` a text is
    dropped also for an earlier text that was itself dropped; its twin is then the first of those.
    """
    twin = np.full(len(texts), -1, dtype=np.int64)
    score = np.zeros(len(texts), dtype=np.float64)
    rows, columns, scores = plain.similar_pairs(texts, texts, threshold)
    earlier = columns < rows
    rows, columns, scores = rows[earlier], columns[earlier], scores[earlier]
    order = np.lexsort((columns, rows))
    rows, columns, scores = rows[order], columns[order], scores[order]
    bounds = np.flatnonzero(np.diff(rows, prepend=-1, append=-1))
    for start, end in itertools.pairwise(bounds):
        kept = start + np.flatnonzero(twin[columns[start:end]] < 0)
        if len(kept) or rule == "any":
            first = kept[0] if len(kept) else start
            twin[rows[start]], score[rows[start]] = columns[first], scores[first]
    return Duplicates(twin, score)
