"""Arithmetic of the normalised Indel similarity, to the last bit as ``rapidfuzz.fuzz.ratio`` computes it.

For two texts of |a| and |b| code points, the Indel distance d is the least number of insertions and deletions that
turn one into the other: d = |a| + |b| - 2 LCS(a, b). The score is (1 - d / (|a| + |b|)) * 100, in double precision; two
empty texts score 100. Every decision here is made with that very expression, so that a pair at the threshold is found
whichever way it is computed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def score_of(distance: int, total: int) -> float:
    """``fuzz.ratio`` of two texts of ``total`` code points together that are ``distance`` apart."""
    return (1.0 - (distance / total if total else 0.0)) * 100.0


def largest_distances(totals: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """Largest Indel distance that still scores at least ``threshold``, for every sum of lengths in ``totals``.

    -1 where not even equal texts would do (a threshold above 100).
    """
    totals = np.asarray(totals, dtype=np.int64)
    divisor = np.maximum(totals, 1)
    distance: NDArray[np.int64] = np.floor((1.0 - threshold / 100.0) * totals).astype(np.int64) + 2
    distance = np.minimum(distance, totals)
    for _ in range(5):
        score = (1.0 - distance / divisor) * 100.0
        distance = np.where((score < threshold) & (distance >= 0), distance - 1, distance)
    return distance


def length_window(lengths: NDArray[np.int64], length: int, threshold: float) -> tuple[int, int]:
    """Positions (start, end) of those sorted ``lengths`` that a text of ``length`` code points can be similar to.

    The distance is at least the difference of the lengths. An empty window starts and ends where ``length`` would be.
    """
    own = int(np.searchsorted(lengths, length))
    if threshold > 100:
        return own, own
    share = threshold / 100.0
    low = int(length * share / (2.0 - share)) - 2
    high = int(length * (2.0 - share) / share) + 2 if share > 0 else np.iinfo(np.int64).max
    start, end = np.searchsorted(lengths, [low, high])
    differences = np.abs(lengths[start:end] - length)
    fits = np.flatnonzero(differences <= largest_distances(lengths[start:end] + length, threshold))
    if len(fits) == 0:
        return own, own
    return int(start) + int(fits[0]), int(start) + int(fits[-1]) + 1
