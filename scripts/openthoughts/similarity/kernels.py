# mypy: disable-error-code="call-arg"
"""Compiled loops of the join: the pairs of texts that no bound rules out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openthoughts.similarity.alphabet import BANDS, SEGMENT, SLOTS
from openthoughts.similarity.cache import use_kernel_cache
from openthoughts.similarity.profiles import TILE
from openthoughts.similarity.vectors import (
    CODES,
    LANES,
    PACK,
    STRIP,
    WORD,
    bag_test,
    lcs_1,
    lcs_2,
    lcs_3,
    lcs_4,
    lcs_5,
    lcs_6,
    lcs_7,
    lcs_strip,
    lowest_bit,
    peek,
    poke,
)

use_kernel_cache()


class Rows(NamedTuple):
    """The n texts of a profile that are compared, in order of length; their bands in the order of the tests."""

    numbers: NDArray[np.int64]  # n: which text
    lengths: NDArray[np.int64]  # n: code points
    starts: NDArray[np.int64]  # bands * n: where a band's string starts in words
    chunks: NDArray[np.int32]  # bands * n: words of a band's string
    sizes: NDArray[np.int32]  # bands * n: symbols in a band
    rests: NDArray[np.int32]  # bands * n: symbols in the bands before


class Workspace(NamedTuple):
    """Memory that is reused for every tile."""

    stream: NDArray[np.uint32]  # strings of a pack of rows, side by side
    carries: NDArray[np.uint32]  # of a strip of the bit patterns, to the next one
    table: NDArray[np.uint32]  # bit patterns of one band of a tile's text
    common: NDArray[np.uint32]  # lengths of a pack's longest common subsequences
    distance: NDArray[np.int32]  # of a lane's rows, over the bands done so far
    sums8: NDArray[np.uint8]  # of a row against a tile: symbols that the tile's texts lack, up to every band
    sums16: NDArray[np.uint16]  # the same, for wide tiles
    filled: NDArray[np.int64]  # rows in every lane
    lane_rows: NDArray[np.int32]  # the rows that may be similar to the text of a lane
    lane_sums: NDArray[np.uint16]  # and their sums, up to every band but the last


@njit(nogil=True, cache=True)
def _reaches(length, other, distances):  # type: ignore[no-untyped-def]
    return abs(length - other) <= distances[length + other]


@njit(nogil=True, cache=True)
def _window(lengths, shortest, longest, distances):  # type: ignore[no-untyped-def]
    """Range of the ascending ``lengths`` that can be similar to one from ``shortest`` to ``longest``."""
    low, high = 0, len(lengths)
    while low < high:
        middle = (low + high) // 2
        length = lengths[middle]
        if length >= shortest or _reaches(length, shortest, distances):
            high = middle
        else:
            low = middle + 1
    start = low
    high = len(lengths)
    while low < high:
        middle = (low + high) // 2
        length = lengths[middle]
        if length <= longest or _reaches(length, longest, distances):
            low = middle + 1
        else:
            high = middle
    return start, low


@njit(nogil=True, cache=True)
def _fill_table(table, member, band, profile):  # type: ignore[no-untyped-def]
    """Bit patterns of one band of a text; the number of its 32-bit words."""
    size = profile.sizes[member * BANDS + band]
    words = (size + WORD - 1) // WORD
    if words >= STRIP:
        words = (words + STRIP - 1) // STRIP * STRIP
    table[: words * SEGMENT] = 0
    start = profile.starts[member * BANDS + band]
    for i in range(size):
        code = (profile.words[start + i // CODES] >> np.uint32(4 * (i % CODES))) & np.uint32(15)
        table[(i // WORD) * SEGMENT + np.int64(code)] |= np.uint32(1) << np.uint32(i % WORD)
    return words


@njit(nogil=True, cache=True)
def _lcs_pack(table, words, stream, chunks, carries, out):  # type: ignore[no-untyped-def]
    out[:] = 0
    if words == 1:
        lcs_1(table, 0, stream, chunks, carries, out)
    elif words == 2:
        lcs_2(table, 0, stream, chunks, carries, out)
    elif words == 3:
        lcs_3(table, 0, stream, chunks, carries, out)
    elif words == 4:
        lcs_4(table, 0, stream, chunks, carries, out)
    elif words == 5:
        lcs_5(table, 0, stream, chunks, carries, out)
    elif words == 6:
        lcs_6(table, 0, stream, chunks, carries, out)
    elif words == 7:
        lcs_7(table, 0, stream, chunks, carries, out)
    elif words >= STRIP:
        carries[: chunks * CODES * PACK] = 0
        for first in range(0, words, STRIP):
            lcs_strip(table, first, stream, chunks, carries, out)


@njit(nogil=True, cache=True)
def _interleave(stream, words, starts, chunks, picked, first, count):  # type: ignore[no-untyped-def]
    """Lay the packed strings of up to 16 ``picked`` rows side by side; the number of rows of ``stream`` filled."""
    most = np.int64(0)
    for p in range(count):
        most = max(most, np.int64(peek(chunks, np.int64(peek(picked, first + p)))))
    for p in range(PACK):
        start, own = np.int64(0), np.int64(0)
        if p < count:
            row = np.int64(peek(picked, first + p))
            start, own = np.int64(peek(starts, row)), np.int64(peek(chunks, row))
        for c in range(most):
            poke(stream, c * PACK + p, peek(words, start + c) if c < own else np.uint32(0))
    return most


@njit(nogil=True, cache=True)
def _grown(array, size):  # type: ignore[no-untyped-def]
    larger = np.empty(2 * size, array.dtype)
    larger[:size] = array[:size]
    return larger


@njit(nogil=True, cache=True)
def _largest_band(members, profile):  # type: ignore[no-untyped-def]
    """Symbols of the largest band of the texts ``members``; -1 stands for no text."""
    largest = 0
    for member in members:
        if member >= 0:
            for band in range(BANDS):
                largest = max(largest, profile.sizes[member * BANDS + band])
    return largest


@njit(nogil=True, cache=True)
def _ordered_rows(rows, profile, order):  # type: ignore[no-untyped-def]
    n = len(rows)
    lengths = np.empty(n, np.int64)
    starts = np.empty((BANDS, n), np.int64)
    chunks = np.empty((BANDS, n), np.int32)
    sizes = np.empty((BANDS, n), np.int32)
    rests = np.empty((BANDS, n), np.int32)
    for i in range(n):
        lengths[i] = profile.lengths[rows[i]]
        rest = np.int64(0)
        for k in range(BANDS):
            at = rows[i] * BANDS + order[k]
            starts[k, i] = profile.starts[at]
            chunks[k, i] = profile.starts[at + 1] - profile.starts[at]
            sizes[k, i] = profile.sizes[at]
            rests[k, i] = rest
            rest += profile.sizes[at]
    return Rows(rows, lengths, starts, chunks, sizes, rests)


@njit(nogil=True, cache=True)
def _workspace(rows, left, tile_members, right):  # type: ignore[no-untyped-def]
    longest, widest = _largest_band(rows, left), _largest_band(tile_members, right)
    chunks_most = (longest + CODES - 1) // CODES
    words_most = ((widest + WORD - 1) // WORD + STRIP) // STRIP * STRIP
    return Workspace(
        np.empty((chunks_most + 1) * PACK, np.uint32),
        np.empty((chunks_most * CODES if widest > WORD * (STRIP - 1) else 0) * PACK + PACK, np.uint32),
        np.empty(words_most * SEGMENT, np.uint32),
        np.empty(PACK, np.uint32),
        np.empty(len(rows), np.int32),
        np.empty(BANDS * LANES, np.uint8),
        np.empty(BANDS * LANES, np.uint16),
        np.zeros(LANES, np.int64),
        np.empty((LANES, len(rows)), np.int32),
        np.empty((BANDS - 1, LANES, len(rows)), np.uint16),
    )


@njit(nogil=True, cache=True)
def _test_bags(tile, texts, rows, narrow, wide, tiles, distances, order, earlier, space):  # type: ignore[no-untyped-def]
    """Put the rows that the bag does not rule out for a text of a tile into that text's lane."""
    base = tile * LANES
    valid = ~np.uint64(0) if texts == LANES else (np.uint64(1) << np.uint64(texts)) - np.uint64(1)
    shortest = tiles.lengths[base]
    start, end = _window(rows.lengths, shortest, tiles.lengths[base + texts - 1], distances)
    space.filled[:] = 0
    for i in range(start, end):
        length = rows.lengths[i]
        budget = (distances[length + shortest] + length - shortest) >> 1
        if budget < 0:
            continue
        use_wide = budget >= 255 and tiles.wide_start[tile] >= 0
        if use_wide:
            limit = np.uint64(min(budget, 65535))
            mask = bag_test(wide, i * SLOTS, tiles.wide, tiles.wide_start[tile], order, limit, space.sums16) & valid
        else:
            limit = np.uint64(min(budget, 255))
            mask = bag_test(narrow, i * SLOTS, tiles.narrow, tile * TILE, order, limit, space.sums8) & valid
        while mask != 0:
            lane = lowest_bit(mask)
            mask &= mask - np.uint64(1)
            if earlier and tiles.members[base + lane] >= rows.numbers[i]:
                continue
            other = tiles.lengths[base + lane]
            last = (BANDS - 1) * LANES + lane
            total = np.int64(space.sums16[last]) if use_wide else np.int64(space.sums8[last])
            if 2 * total + other - length > distances[length + other]:
                continue
            at = space.filled[lane]
            space.filled[lane] = at + 1
            space.lane_rows[lane, at] = i
            for k in range(BANDS - 1):
                sums = k * LANES + lane
                space.lane_sums[k, lane, at] = space.sums16[sums] if use_wide else space.sums8[sums]


@njit(nogil=True, cache=True)
def _test_bands(lane, member, other, rows, left, right, distances, order, space):  # type: ignore[no-untyped-def]
    """Keep the rows of a lane that the longest common subsequences of its text's bands do not rule out; how many."""
    alive = space.filled[lane]
    distance, picked, lane_sums = space.distance, space.lane_rows[lane], space.lane_sums
    distance[:alive] = 0
    rest_other = other
    for k in range(BANDS - 1, -1, -1):
        own_size = np.int64(right.sizes[member * BANDS + order[k]])
        rest_other -= own_size
        words = _fill_table(space.table, member, order[k], right)
        kept = 0
        for first in range(0, alive, PACK):
            count = min(PACK, alive - first)
            chunks = _interleave(space.stream, left.words, rows.starts[k], rows.chunks[k], picked, first, count)
            _lcs_pack(space.table, words, space.stream, chunks, space.carries, space.common)
            for p in range(first, first + count):
                i = np.int64(picked[p])
                common = np.int64(space.common[p - first])
                so_far = np.int64(distance[p]) + own_size + np.int64(rows.sizes[k, i]) - 2 * common
                rest = np.int64(0)
                if k > 0:
                    lacking = np.int64(lane_sums[k - 1, lane, p])
                    rest = 2 * lacking + rest_other - np.int64(rows.rests[k, i])
                if so_far + rest <= distances[rows.lengths[i] + other]:
                    distance[kept] = so_far
                    picked[kept] = i
                    for e in range(k - 1):
                        lane_sums[e, lane, kept] = lane_sums[e, lane, p]
                    kept += 1
        alive = kept
        if alive == 0:
            break
    return alive


@njit(nogil=True, cache=True)
def find_candidates(  # type: ignore[no-untyped-def]
    rows, left, narrow, wide, tiles, right, first_tile, last_tile, distances, order, earlier
):
    """Pairs of ``rows`` of ``left`` and members of tiles of ``right`` that no bound rules out.

    ``rows`` have ascending lengths and ``narrow``, ``wide`` are their counts; ``distances[n]`` is the largest distance
    of two similar texts of n code points together. The bag is tested band by band in the given ``order``; then bands
    are taken from the last, and the LCS of each replaces its part of the bag. With ``earlier`` only members that come
    before the row count. Returns the rows' and the members' numbers, tile by tile.
    """
    capacity = 1024
    found_rows = np.empty(capacity, np.int64)
    found_members = np.empty(capacity, np.int64)
    found = 0
    ordered = _ordered_rows(rows, left, order)
    space = _workspace(rows, left, tiles.members[first_tile * LANES : last_tile * LANES], right)
    for tile in range(first_tile, last_tile):
        base = tile * LANES
        texts = LANES
        while tiles.members[base + texts - 1] < 0:
            texts -= 1
        _test_bags(tile, texts, ordered, narrow, wide, tiles, distances, order, earlier, space)
        for lane in range(texts):
            if space.filled[lane] == 0:
                continue
            member = tiles.members[base + lane]
            other = tiles.lengths[base + lane]
            alive = _test_bands(lane, member, other, ordered, left, right, distances, order, space)
            while found + alive > capacity:
                found_rows = _grown(found_rows, capacity)
                found_members = _grown(found_members, capacity)
                capacity *= 2
            for p in range(alive):
                found_rows[found] = rows[space.lane_rows[lane, p]]
                found_members[found] = member
                found += 1
    return found_rows[:found], found_members[:found]
