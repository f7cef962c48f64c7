"""Characters in 60 slots: what the bounds know of a text.

Mapping characters to slots can only raise the LCS of two texts, so every bound that is taken on slots holds for the
texts, whatever the mapping. A good one separates what is frequent: the 52 commonest characters have slots of their own,
all others share 8. The slots are dealt out to 4 bands in turn by frequency, which gives each band about a quarter of
the text and a mixture of common and rare symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BANDS = 4
"""Groups of slots whose strings are compared by their LCS, one after the other."""

SEGMENT = 16
"""Codes of a band: 0 is the absent symbol, 1 to 15 are its slots."""

SLOTS = BANDS * SEGMENT

_CODE_POINTS = 0x110000
_SHARED = 8
_SAMPLED_TEXTS = 2000
_SAMPLED_CHARACTERS = 4000


@dataclass(frozen=True)
class Alphabet:
    """``slots[code point]`` is 16 * band + code; ``order`` has the bands from the most to the least frequent."""

    slots: NDArray[np.uint8]
    order: NDArray[np.int64]


def code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All code points of the texts, one after the other, and the offsets of the texts in them (one more than texts)."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return codes, offsets


def make_alphabet(sides: Iterable[Sequence[str]]) -> Alphabet:
    """An alphabet for texts like those of the given lists, from an even sample of each."""
    frequency = np.zeros(_CODE_POINTS, dtype=np.int64)
    for texts in sides:
        sample = texts[:: max(1, len(texts) // _SAMPLED_TEXTS)]
        codes, _ = code_points([text[:_SAMPLED_CHARACTERS] for text in sample])
        frequency += np.bincount(codes, minlength=_CODE_POINTS)
    places = [(rank % BANDS) * SEGMENT + rank // BANDS + 1 for rank in range(SLOTS - BANDS)]
    own = len(places) - _SHARED
    slots = np.array(places[own:], dtype=np.uint8)[np.arange(_CODE_POINTS) % _SHARED]
    slots[np.argsort(-frequency, kind="stable")[:own]] = places[:own]
    mass = np.bincount(slots // SEGMENT, weights=frequency, minlength=BANDS)
    return Alphabet(slots, np.argsort(-mass, kind="stable").astype(np.int64))
