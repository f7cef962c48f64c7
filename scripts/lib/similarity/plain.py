"""The join without compiled kernels: windows of lengths, and ``rapidfuzz`` on every pair inside them.

It is the reference that the compiled engine must equal, and what runs where Numba cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from lib.similarity.bounds import length_window

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

_CELLS = 2_000_000
_SLACK = 0.01
"""rapidfuzz compares the cutoff with the unscaled similarity: ask for a little less and decide on the score itself."""


def similar_pairs(left: Sequence[str], right: Sequence[str], threshold: float) -> Pairs:
    """Rows, columns and scores of all pairs of at least ``threshold``, in no order."""
    left_lengths = np.array([len(text) for text in left], dtype=np.int64)
    right_lengths = np.array([len(text) for text in right], dtype=np.int64)
    left_order = np.argsort(left_lengths, kind="stable")
    right_order = np.argsort(right_lengths, kind="stable")
    right_sorted = [right[i] for i in right_order]
    sorted_lengths = right_lengths[right_order]
    found: list[Pairs] = []
    position = 0
    while position < len(left_order):
        start, _ = length_window(sorted_lengths, int(left_lengths[left_order[position]]), threshold)
        size = max(1, min(256, _CELLS // max(1, len(right))))
        rows = left_order[position : position + size]
        _, end = length_window(sorted_lengths, int(left_lengths[rows[-1]]), threshold)
        position += len(rows)
        if end > start:
            found.append(_score_block([left[i] for i in rows], right_sorted[start:end], threshold))
            block_rows, block_columns, scores = found[-1]
            found[-1] = rows[block_rows], right_order[start + block_columns], scores
    if not found:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, np.zeros(0)
    rows_found, columns_found, scores_found = zip(*found, strict=True)
    return np.concatenate(rows_found), np.concatenate(columns_found), np.concatenate(scores_found)


def _score_block(left: Sequence[str], right: Sequence[str], threshold: float) -> Pairs:
    scores = process.cdist(left, right, scorer=fuzz.ratio, score_cutoff=max(0.0, threshold - _SLACK), dtype=np.float64)
    rows, columns = np.nonzero(scores >= threshold)
    return rows.astype(np.int64), columns.astype(np.int64), scores[rows, columns]
