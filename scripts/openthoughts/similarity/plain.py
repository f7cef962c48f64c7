"""The engine without compiled kernels: windows of lengths, and ``rapidfuzz`` on every pair inside them.

It is the reference that the compiled engine must equal, and what runs where Numba cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from openthoughts.similarity.bounds import largest_distances, length_window
from openthoughts.similarity.pairs import SLACK, Pairs, concatenate

_CELLS = 2_000_000
_ROWS = 256


class Target:
    """Texts that others are compared with."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        self._order = np.argsort(lengths, kind="stable")
        self._lengths = lengths[self._order]
        self._texts = [texts[i] for i in self._order]
        self._threshold = threshold

    def pairs(self, texts: Sequence[str]) -> Pairs:
        """Positions in ``texts``, positions in the target and scores of all similar pairs, in no order."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        size = max(1, min(_ROWS, _CELLS // max(1, len(self._texts))))
        return concatenate([self._block(texts, order[start : start + size]) for start in range(0, len(order), size)])

    def _block(self, texts: Sequence[str], rows: NDArray[np.int64]) -> Pairs:
        start, _ = length_window(self._lengths, len(texts[rows[0]]), self._threshold)
        _, end = length_window(self._lengths, len(texts[rows[-1]]), self._threshold)
        scores = process.cdist(
            [texts[row] for row in rows],
            self._texts[start:end],
            scorer=fuzz.ratio,
            score_cutoff=max(0.0, self._threshold - SLACK),
            dtype=np.float64,
        )
        left, right = np.nonzero(scores >= self._threshold)
        return rows[left], self._order[start + right], scores[left, right]


class Pool:
    """A list of texts, of which some are compared with others that were added before: for deduplication."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._texts = texts
        self._threshold = threshold

    def tiles(self, members: NDArray[np.int64]) -> tuple[NDArray[np.int64], Target]:
        """Some of the texts, ready to be compared with."""
        return members, Target([self._texts[member] for member in members], self._threshold)

    def pairs(self, rows: NDArray[np.int64], tiles: tuple[NDArray[np.int64], Target], earlier: bool) -> Pairs:
        """Similar pairs of texts ``rows`` and members of ``tiles`` (with ``earlier``, those before the row)."""
        members, target = tiles
        left, right, scores = target.pairs([self._texts[row] for row in rows])
        left, right = rows[left], members[right]
        wanted = right < left if earlier else np.ones(len(left), dtype=bool)
        return left[wanted], right[wanted], scores[wanted]

    def shortest_similar(self, length: int) -> int:
        """Length below which no text is similar to one of ``length``."""
        lengths = np.arange(length + 1)
        return int(np.argmax(length - lengths <= largest_distances(lengths + length, self._threshold)))
