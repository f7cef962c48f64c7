"""Which texts can hold any of many known byte strings: the compiled test that spares most texts their tokenizing.

Every known string (a needle) is represented by one window of its bytes, the hash of which is put in a table; a text is
a suspect when one of its windows has a hash in the table. A text that holds a needle holds its window, so no such text
is missed; what is suspected wrongly is looked at again by whoever asked.

Long needles have a window of 24 bytes whose hash is a multiple of 4 (in hash order the first), so that only every
fourth window of a text is looked up; needles without one have a window of 16 bytes, or of ``shortest`` bytes.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openthoughts.similarity.cache import use_kernel_cache

use_kernel_cache()

_LONG = 24
_MIDDLE = 16
_SAMPLED = 2
"""A sampled hash has this many low bits 0."""

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)


class Needles:
    """The windows of many byte strings of at least ``shortest`` bytes."""

    def __init__(self, text: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], shortest: int) -> None:
        """Needle i is ``text[starts[i]:ends[i]]``."""
        self._widths = np.array([max(_LONG, shortest), max(_MIDDLE, shortest), shortest])
        hashes, kinds = _windows(np.frombuffer(text, dtype=np.uint8), starts, ends, self._widths)
        self._tables = tuple(_table(np.unique(hashes[kinds == kind])) for kind in range(3))

    def suspects(self, texts: list[bytes]) -> NDArray[np.bool_]:
        """Whether each text may hold a needle."""
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        codes = np.frombuffer(b"".join(texts), dtype=np.uint8)
        found = np.zeros(len(texts), dtype=np.bool_)
        for kind, (table, count) in enumerate(self._tables):
            if count:
                _search(codes, offsets, int(self._widths[kind]), kind == 0, table, found)
        return found


def _table(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], int]:
    """Open addressing over a power of two at least 8 times the number of hashes; 0 stands for an empty place."""
    size = 1 << max(10, (8 * len(hashes)).bit_length())
    table = np.zeros(size, dtype=np.uint64)
    _insert(table, hashes)
    return table, len(hashes)


@njit(nogil=True, cache=True)
def _place(value, size):  # type: ignore[no-untyped-def]
    mixed = (value ^ (value >> np.uint64(32))) * _MIX
    return np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(size - 1))


@njit(nogil=True, cache=True)
def _insert(table, hashes):  # type: ignore[no-untyped-def]
    for value in hashes:
        place = _place(value, len(table))
        while table[place] != 0:
            place = (place + 1) & (len(table) - 1)
        table[place] = value


@njit(nogil=True, cache=True)
def _power(width):  # type: ignore[no-untyped-def]
    power = np.uint64(1)
    for _ in range(width):
        power *= _BASE
    return power


@njit(nogil=True, cache=True)
def _hashes(text, width):  # type: ignore[no-untyped-def]
    """Hash of the window of ``width`` bytes that starts at every position; never 0."""
    power = _power(width)
    hashes = np.zeros(max(0, len(text) - width + 1), np.uint64)
    value = np.uint64(0)
    for p in range(len(text)):
        value = value * _BASE + np.uint64(text[p]) + np.uint64(1)
        if p >= width:
            value -= power * (np.uint64(text[p - width]) + np.uint64(1))
        if p >= width - 1:
            hashes[p - width + 1] = value if value != 0 else np.uint64(1)
    return hashes


@njit(nogil=True, cache=True)
def _is_sampled(value):  # type: ignore[no-untyped-def]
    return ((value >> np.uint64(40)) & np.uint64((1 << _SAMPLED) - 1)) == 0


@njit(nogil=True, cache=True)
def _windows(text, starts, ends, widths):  # type: ignore[no-untyped-def]
    """The hash that represents each needle, and which of the ``widths`` its window has."""
    long, middle, short = _hashes(text, widths[0]), _hashes(text, widths[1]), _hashes(text, widths[2])
    hashes = np.zeros(len(starts), np.uint64)
    kinds = np.zeros(len(starts), np.int64)
    for i in range(len(starts)):
        best = np.uint64(0)
        for start in range(starts[i], ends[i] - widths[0] + 1):
            if _is_sampled(long[start]) and (best == 0 or long[start] < best):
                best = long[start]
        if best == 0:
            if ends[i] - starts[i] >= widths[1]:
                kinds[i], best = 1, middle[starts[i]]
            else:
                kinds[i], best = 2, short[starts[i]]
        hashes[i] = best
    return hashes, kinds


@njit(nogil=True, cache=True)
def _search(text, offsets, width, sampled, table, found):  # type: ignore[no-untyped-def]
    """Set ``found`` for the texts that have a window of ``width`` bytes whose hash is in the table."""
    power = _power(width)
    size = len(table)
    for i in range(len(offsets) - 1):
        start, end = offsets[i], offsets[i + 1]
        if found[i] or end - start < width:
            continue
        value = np.uint64(0)
        for p in range(start, end):
            value = value * _BASE + np.uint64(text[p]) + np.uint64(1)
            if p >= start + width:
                value -= power * (np.uint64(text[p - width]) + np.uint64(1))
            if p < start + width - 1 or (sampled and not _is_sampled(value)):
                continue
            wanted = value if value != 0 else np.uint64(1)
            place = _place(wanted, size)
            while table[place] != 0 and table[place] != wanted:
                place = (place + 1) & (size - 1)
            if table[place] == wanted:
                found[i] = True
                break
