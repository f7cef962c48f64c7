# mypy: disable-error-code="call-arg, assignment"
"""Compiled loops of the join: profiles of texts, tiles of profiles, and the pairs that no bound rules out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openthoughts.similarity.alphabet import BANDS, SEGMENT, SLOTS
from openthoughts.similarity.cache import use_kernel_cache
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
            slot = np.int64(slots[codes[p]])
            band = slot // SEGMENT
            at = place[band]
            place[band] = at + 1
            words[at // CODES] |= np.uint32((slot % SEGMENT) << (4 * (at % CODES)))
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


@njit(nogil=True, cache=True)
def _reaches(length, other, distances):  # type: ignore[no-untyped-def]
    return abs(length - other) <= distances[length + other]


@njit(nogil=True, cache=True)
def _window(rows, lengths, shortest, longest, distances):  # type: ignore[no-untyped-def]
    """Range of ``rows`` (ascending lengths) whose lengths can be similar to one from ``shortest`` to ``longest``."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        length = lengths[rows[middle]]
        if length >= shortest or _reaches(length, shortest, distances):
            high = middle
        else:
            low = middle + 1
    start = low
    high = len(rows)
    while low < high:
        middle = (low + high) // 2
        length = lengths[rows[middle]]
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

    longest_band = 0
    for i in rows:
        for band in range(BANDS):
            longest_band = max(longest_band, left.sizes[i * BANDS + band])
    widest_band = 0
    for place in range(first_tile * LANES, last_tile * LANES):
        member = tiles.members[place]
        if member >= 0:
            for band in range(BANDS):
                widest_band = max(widest_band, right.sizes[member * BANDS + band])
    chunks_most = (longest_band + CODES - 1) // CODES
    words_most = ((widest_band + WORD - 1) // WORD + STRIP) // STRIP * STRIP
    stream = np.empty((chunks_most + 1) * PACK, np.uint32)
    carries = np.empty((chunks_most * CODES if widest_band > WORD * (STRIP - 1) else 0) * PACK + PACK, np.uint32)
    table = np.empty(words_most * SEGMENT, np.uint32)
    lengths_out = np.empty(PACK, np.uint32)

    sums8 = np.empty(BANDS * LANES, np.uint8)
    sums16 = np.empty(BANDS * LANES, np.uint16)
    filled = np.zeros(LANES, np.int64)
    lane_rows = np.empty((LANES, len(rows)), np.int32)
    lane_sums = np.empty((BANDS - 1, LANES, len(rows)), np.uint16)
    distance = np.empty(len(rows), np.int32)
    row_lengths = np.empty(len(rows), np.int64)
    row_starts = np.empty((BANDS, len(rows)), np.int64)
    row_chunks = np.empty((BANDS, len(rows)), np.int32)
    row_sizes = np.empty((BANDS, len(rows)), np.int32)
    row_rests = np.empty((BANDS, len(rows)), np.int32)  # symbols in the bands before
    for i in range(len(rows)):
        row_lengths[i] = left.lengths[rows[i]]
        rest = np.int64(0)
        for k in range(BANDS):
            at = rows[i] * BANDS + order[k]
            row_starts[k, i] = left.starts[at]
            row_chunks[k, i] = left.starts[at + 1] - left.starts[at]
            row_sizes[k, i] = left.sizes[at]
            row_rests[k, i] = rest
            rest += left.sizes[at]

    for tile in range(first_tile, last_tile):
        base = tile * LANES
        texts = LANES
        while tiles.members[base + texts - 1] < 0:
            texts -= 1
        valid = ~np.uint64(0) if texts == LANES else (np.uint64(1) << np.uint64(texts)) - np.uint64(1)
        shortest = tiles.lengths[base]
        start, end = _window(rows, left.lengths, shortest, tiles.lengths[base + texts - 1], distances)
        filled[:] = 0
        for i in range(start, end):
            length = left.lengths[rows[i]]
            budget = (distances[length + shortest] + length - shortest) >> 1
            if budget < 0:
                continue
            use_wide = budget >= 255 and tiles.wide_start[tile] >= 0
            if use_wide:
                limit = np.uint64(min(budget, 65535))
                mask = bag_test(wide, i * SLOTS, tiles.wide, tiles.wide_start[tile], order, limit, sums16) & valid
            else:
                limit = np.uint64(min(budget, 255))
                mask = bag_test(narrow, i * SLOTS, tiles.narrow, tile * TILE, order, limit, sums8) & valid
            while mask != 0:
                lane = lowest_bit(mask)
                mask &= mask - np.uint64(1)
                if earlier and tiles.members[base + lane] >= rows[i]:
                    continue
                other = tiles.lengths[base + lane]
                last = (BANDS - 1) * LANES + lane
                total = np.int64(sums16[last]) if use_wide else np.int64(sums8[last])
                if 2 * total + other - length > distances[length + other]:
                    continue
                at = filled[lane]
                filled[lane] = at + 1
                lane_rows[lane, at] = i
                for k in range(BANDS - 1):
                    lane_sums[k, lane, at] = sums16[k * LANES + lane] if use_wide else sums8[k * LANES + lane]

        for lane in range(texts):
            alive = filled[lane]
            if alive == 0:
                continue
            member = tiles.members[base + lane]
            other = tiles.lengths[base + lane]
            distance[:alive] = 0
            picked = lane_rows[lane]
            rest_other = other
            for k in range(BANDS - 1, -1, -1):
                own_size = np.int64(right.sizes[member * BANDS + order[k]])
                rest_other -= own_size
                words = _fill_table(table, member, order[k], right)
                kept = 0
                for first in range(0, alive, PACK):
                    count = min(PACK, alive - first)
                    chunks = _interleave(stream, left.words, row_starts[k], row_chunks[k], picked, first, count)
                    _lcs_pack(table, words, stream, chunks, carries, lengths_out)
                    for p in range(first, first + count):
                        i = np.int64(picked[p])
                        common = np.int64(lengths_out[p - first])
                        so_far = np.int64(distance[p]) + own_size + np.int64(row_sizes[k, i]) - 2 * common
                        rest = np.int64(0)
                        if k > 0:
                            lacking = np.int64(lane_sums[k - 1, lane, p])
                            rest = 2 * lacking + rest_other - np.int64(row_rests[k, i])
                        if so_far + rest <= distances[row_lengths[i] + other]:
                            distance[kept] = so_far
                            picked[kept] = i
                            for e in range(k - 1):
                                lane_sums[e, lane, kept] = lane_sums[e, lane, p]
                            kept += 1
                alive = kept
                if alive == 0:
                    break
            if found + alive > capacity:
                while found + alive > capacity:
                    found_rows = _grown(found_rows, capacity)
                    found_members = _grown(found_members, capacity)
                    capacity *= 2
            for p in range(alive):
                found_rows[found] = rows[lane_rows[lane, p]]
                found_members[found] = member
                found += 1
    return found_rows[:found], found_members[:found]
