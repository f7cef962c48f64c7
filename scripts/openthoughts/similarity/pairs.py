"""Pairs of texts and their scores, as ``rapidfuzz`` gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Positions on the left, positions on the right, scores."""

NO_PAIRS: Pairs = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))

SLACK = 0.01
"""rapidfuzz compares its cutoff with the unscaled similarity: ask for a little less and decide on the score itself."""

_BATCH = 65_536


def concatenate(parts: Sequence[Pairs]) -> Pairs:
    """All pairs of several sets, one after the other."""
    if not parts:
        return NO_PAIRS
    left, right, scores = zip(*parts, strict=True)
    return np.concatenate(left), np.concatenate(right), np.concatenate(scores)


def score_pairs(
    left: Sequence[str],
    right: Sequence[str],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    threshold: float,
) -> Pairs:
    """Of the pairs ``left[rows[i]]``, ``right[columns[i]]``, those whose ``fuzz.ratio`` is at least ``threshold``."""
    found = []
    for start in range(0, len(rows), _BATCH):
        some_rows, some_columns = rows[start : start + _BATCH], columns[start : start + _BATCH]
        scores = process.cpdist(
            [left[row] for row in some_rows.tolist()],
            [right[column] for column in some_columns.tolist()],
            scorer=fuzz.ratio,
            score_cutoff=max(0.0, threshold - SLACK),
            dtype=np.float64,
        )
        similar = scores >= threshold
        found.append((some_rows[similar], some_columns[similar], scores[similar]))
    return concatenate(found)
