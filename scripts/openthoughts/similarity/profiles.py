"""Profiles of texts and tiles of profiles: what the bounds of the join are computed from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openthoughts.similarity.alphabet import BANDS, SEGMENT, SLOTS
from openthoughts.similarity.cache import use_kernel_cache
from openthoughts.similarity.vectors import CODES, LANES

use_kernel_cache()

TILE = SLOTS * LANES
"""Counts of a tile."""


class Profile(NamedTuple):
    """What the bounds need of n texts."""

    lengths: NDArray[np.int64]  # n: code points
    counts: NDArray[np.uint16]  # n * 64: occurrences by slot, 65,535 at most
    sizes: NDArray[np.int32]  # n * 4: symbols in every band
    starts: NDArray[np.int64]  # n * 4 + 1: where a band's string starts in words
    words: NDArray[np.uint32]  # the strings of the bands, 8 codes of 4 bits a word; then room for one more string


class Tiles(NamedTuple):
    """Profiles of t * 64 texts in order of length, transposed: slot by slot, 64 texts side by side."""

    members: NDArray[np.int64]  # t * 64: which text; -1 for the places left over in the last tile
    lengths: NDArray[np.int64]  # t * 64
    narrow: NDArray[np.uint8]  # t * 4096 counts, 255 at most
    wide: NDArray[np.uint16]  # the same up to 65,535, for tiles of long texts
    wide_start: NDArray[np.int64]  # t: where a tile starts in wide; -1 where it has none


@njit(nogil=True, cache=True)
def build_profile(codes, offsets, slots):  # type: ignore[no-untyped-def]
    """Profile of the texts ``codes[offsets[i]:offsets[i + 1]]`` of code points, which have ``slots[code point]``."""
    n = len(offsets) - 1
    lengths = np.empty(n, np.int64)
    counts = np.empty(n * SLOTS, np.uint16)
    sizes = np.empty(n * BANDS, np.int32)
    starts = np.empty(n * BANDS + 1, np.int64)
    histogram = np.empty(SLOTS, np.int64)
    used = 0
    for i in range(n):
        histogram[:] = 0
        for p in range(offsets[i], offsets[i + 1]):
            histogram[slots[codes[p]]] += 1
        lengths[i] = offsets[i + 1] - offsets[i]
        for band in range(BANDS):
            size = 0
            for code in range(SEGMENT):
                slot = band * SEGMENT + code
                counts[i * SLOTS + slot] = min(histogram[slot], 65535)
                size += histogram[slot]
            sizes[i * BANDS + band] = size
            starts[i * BANDS + band] = used
            used += (size + CODES - 1) // CODES
    starts[n * BANDS] = used
    longest = 0
    for at in range(n * BANDS):
        longest = max(longest, starts[at + 1] - starts[at])
    words = np.zeros(used + longest, np.uint32)
    place = np.empty(BANDS, np.int64)
    for i in range(n):
        for band in range(BANDS):
            place[band] = starts[i * BANDS + band] * CODES
        for p in range(offsets[i], offsets[i + 1]):
            symbol = np.int64(slots[codes[p]])
            its_band = symbol // SEGMENT
            at = place[its_band]
            place[its_band] = at + 1
            words[at // CODES] |= np.uint32((symbol % SEGMENT) << (4 * (at % CODES)))
    return Profile(lengths, counts, sizes, starts, words)


@njit(nogil=True, cache=True)
def build_tiles(members, profile, distances, wide_budget):  # type: ignore[no-untyped-def]
    """Tiles of the texts ``members`` (ascending lengths); wide where the bag's budget can reach ``wide_budget``."""
    tiles = (len(members) + LANES - 1) // LANES
    places = np.full(tiles * LANES, -1, np.int64)
    lengths = np.zeros(tiles * LANES, np.int64)
    narrow = np.zeros(tiles * TILE, np.uint8)
    wide_start = np.full(tiles, -1, np.int64)
    used = 0
    for tile in range(tiles):
        longest = profile.lengths[members[min(len(members), (tile + 1) * LANES) - 1]]
        if distances[min(2 * longest, len(distances) - 1)] // 2 >= wide_budget:
            wide_start[tile] = used
            used += TILE
    wide = np.zeros(used, np.uint16)
    for i in range(len(members)):
        tile, lane = i // LANES, i % LANES
        member = members[i]
        places[i] = member
        lengths[i] = profile.lengths[member]
        for slot in range(SLOTS):
            count = profile.counts[member * SLOTS + slot]
            narrow[tile * TILE + slot * LANES + lane] = min(count, 255)
            if wide_start[tile] >= 0:
                wide[wide_start[tile] + slot * LANES + lane] = count
    return Tiles(places, lengths, narrow, wide, wide_start)


@njit(nogil=True, cache=True)
def gather_counts(rows, profile):  # type: ignore[no-untyped-def]
    """Counts of ``rows`` of a profile, one after the other: at most 255, and at most 65,535."""
    narrow = np.empty(len(rows) * SLOTS, np.uint8)
    wide = np.empty(len(rows) * SLOTS, np.uint16)
    for i in range(len(rows)):
        for slot in range(SLOTS):
            count = profile.counts[rows[i] * SLOTS + slot]
            narrow[i * SLOTS + slot] = min(count, 255)
            wide[i * SLOTS + slot] = count
    return narrow, wide
