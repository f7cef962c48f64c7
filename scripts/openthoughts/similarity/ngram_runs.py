"""Runs of tokens that texts share with references, found by compiled code: every n-gram is looked up in a hash table.

A table entry is trusted only after its tokens are compared, so equal hashes of different n-grams do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openthoughts.similarity.cache import use_kernel_cache

use_kernel_cache()

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_SEEN_BITS = 23
"""Most n-grams are ruled out by a bit in 1 MiB, which stays in the processor's cache."""

Ids = NDArray[np.uint32]
Numbers = NDArray[np.int64]


class RunFinder:
    """The n-grams of token ids of many references."""

    def __init__(self, references: Sequence[Ids], n: int) -> None:
        self._n = n
        self._tokens, self._offsets = _joined(references)
        self._table = _build(self._tokens, self._offsets, n)

    def find(self, texts: Sequence[Ids]) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Text, reference, start in the text and length in tokens of the longest shared run of each pair that has one.

        Of equally long runs it is the first. Sorted by text, then reference.
        """
        text, reference, start, length = _find(*_joined(texts), self._tokens, self._offsets, self._n, *self._table)
        order = np.lexsort((reference, text))
        return text[order], reference[order], start[order], length[order]


def _joined(texts: Sequence[Ids]) -> tuple[Ids, Numbers]:
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in texts], out=offsets[1:])
    return np.concatenate([np.zeros(0, dtype=np.uint32), *texts]), offsets


@njit(nogil=True, cache=True)
def _hash(tokens, start, n):  # type: ignore[no-untyped-def]
    value = np.uint64(0)
    for p in range(start, start + n):
        value = value * _BASE + np.uint64(tokens[p]) + np.uint64(1)
    return value


@njit(nogil=True, cache=True)
def _rolled(value, tokens, start, n, power):  # type: ignore[no-untyped-def]
    """Hash of the n-gram at ``start`` from that of the one before."""
    value = value * _BASE + np.uint64(tokens[start + n - 1]) + np.uint64(1)
    return value - power * (np.uint64(tokens[start - 1]) + np.uint64(1))


@njit(nogil=True, cache=True)
def _power(n):  # type: ignore[no-untyped-def]
    power = np.uint64(1)
    for _ in range(n):
        power *= _BASE
    return power


@njit(nogil=True, cache=True)
def _mixed(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(32))) * _MIX
    return value ^ (value >> np.uint64(29))


@njit(nogil=True, cache=True)
def _may_be_in(seen, mixed):  # type: ignore[no-untyped-def]
    """Whether the n-gram of a mixed hash may be among those whose bits are set."""
    bit = mixed >> np.uint64(64 - _SEEN_BITS)
    return (seen[np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1) != 0


@njit(nogil=True, cache=True)
def _probe(first, tags, mixed, tokens, texts, start, n):  # type: ignore[no-untyped-def]
    """Where the n-gram of ``texts`` at ``start`` is in the table, or the empty entry where it would be."""
    size = len(first)
    tag = np.uint32(mixed >> np.uint64(24))
    entry = np.int64(mixed & np.uint64(size - 1))
    while first[entry] >= 0 and not (tags[entry] == tag and _equal(tokens, first[entry], texts, start, n)):
        entry = (entry + 1) & (size - 1)
    return entry


@njit(nogil=True, cache=True)
def _equal(tokens, start, others, other, n):  # type: ignore[no-untyped-def]
    p = 0
    while p < n and tokens[start + p] == others[other + p]:
        p += 1
    return p == n


@njit(nogil=True, cache=True)
def _build(tokens, offsets, n):  # type: ignore[no-untyped-def]
    """Hash table of all n-grams: bits of their hashes, first places in ``tokens`` (-1: empty), tags, and the token
    before the n-gram where it is always the same one (else -1).

    Beside it, for every place, the next one with the same n-gram (-1: none) and the reference it is in.
    """
    grams = 0
    for r in range(len(offsets) - 1):
        grams += max(0, offsets[r + 1] - offsets[r] - n + 1)
    size = 1024
    while size < 2 * grams:
        size *= 2
    seen = np.zeros(1 << (_SEEN_BITS - 6), np.uint64)
    first = np.full(size, -1, np.int32)
    tags = np.zeros(size, np.uint32)
    before = np.full(size, -1, np.int64)
    last = np.full(size, -1, np.int32)
    following = np.full(len(tokens) + 1, -1, np.int32)
    owner = np.zeros(len(tokens) + 1, np.int32)
    power = _power(n)
    for r in range(len(offsets) - 1):
        value = np.uint64(0)
        for start in range(offsets[r], offsets[r + 1] - n + 1):
            value = _hash(tokens, start, n) if start == offsets[r] else _rolled(value, tokens, start, n, power)
            mixed = _mixed(value)
            bit = mixed >> np.uint64(64 - _SEEN_BITS)
            seen[np.int64(bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))
            owner[start] = r
            entry = _probe(first, tags, mixed, tokens, tokens, start, n)
            previous = np.int64(tokens[start - 1]) if start > offsets[r] else np.int64(-1)
            if first[entry] < 0:
                first[entry], tags[entry] = start, np.uint32(mixed >> np.uint64(24))
                before[entry] = previous
            else:
                following[last[entry]] = start
                if before[entry] != previous:
                    before[entry] = -1
            last[entry] = start
    return seen, first, tags, before, following, owner


@njit(nogil=True, cache=True)
def _grown(array, size):  # type: ignore[no-untyped-def]
    larger = np.empty(2 * size, array.dtype)
    larger[:size] = array[:size]
    return larger


@njit(nogil=True, cache=True)
def _find(  # type: ignore[no-untyped-def]
    texts, text_offsets, tokens, offsets, n, seen, first, tags, before, following, owner
):
    power = _power(n)
    capacity, found = 1024, 0
    found_text = np.empty(capacity, np.int64)
    found_reference = np.empty(capacity, np.int64)
    found_start = np.empty(capacity, np.int64)
    found_length = np.empty(capacity, np.int64)
    slot = np.full(len(offsets), -1, np.int64)  # of every reference: where its run is found, if this text has one
    for t in range(len(text_offsets) - 1):
        begin, end = text_offsets[t], text_offsets[t + 1]
        mine = found
        value = np.uint64(0)
        for start in range(begin, end - n + 1):
            value = _hash(texts, start, n) if start == begin else _rolled(value, texts, start, n, power)
            mixed = _mixed(value)
            if not _may_be_in(seen, mixed):
                continue
            entry = _probe(first, tags, mixed, tokens, texts, start, n)
            if start > begin and before[entry] == np.int64(texts[start - 1]):
                continue  # wherever this n-gram is, it only goes on with a run that was found one token earlier
            where = np.int64(first[entry])
            while where >= 0:
                reference = np.int64(owner[where])
                goes_on = start > begin and where > offsets[reference] and texts[start - 1] == tokens[where - 1]
                if not goes_on:
                    length = n
                    most = min(end - start, offsets[reference + 1] - where)
                    while length < most and texts[start + length] == tokens[where + length]:
                        length += 1
                    at = slot[reference]
                    if at < mine:
                        if found == capacity:
                            found_text = _grown(found_text, capacity)
                            found_reference = _grown(found_reference, capacity)
                            found_start = _grown(found_start, capacity)
                            found_length = _grown(found_length, capacity)
                            capacity *= 2
                        at = found
                        found += 1
                        slot[reference] = at
                        found_text[at], found_reference[at], found_length[at] = t, reference, 0
                    if length > found_length[at]:
                        found_start[at], found_length[at] = start - begin, length
                where = np.int64(following[where])
    return found_text[:found], found_reference[:found], found_start[:found], found_length[:found]
