"""The compiled engine: profiles, tiles and the kernels that rule pairs out, and ``rapidfuzz`` on what they leave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openthoughts.similarity import kernels, profiles
from openthoughts.similarity.alphabet import Alphabet, code_points, make_alphabet
from openthoughts.similarity.bounds import largest_distances
from openthoughts.similarity.pairs import Pairs, concatenate, score_pairs

ROWS = 4096
"""Texts that are compared with a tile at once: their profiles stay in the processor's cache."""

_WIDE_BUDGET = 200
"""Tiles keep counts of 16 bits where a bag may lack this many symbols (8 bits count to 255)."""

Numbers = NDArray[np.int64]


class Distances:
    """Largest distances of similar texts by the sum of their lengths, for lengths that may grow."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._table = largest_distances(np.arange(4096), threshold)

    def up_to(self, total: int) -> Numbers:
        """A table that has an entry for ``total``."""
        if total >= len(self._table):
            self._table = largest_distances(np.arange(max(total + 1, 2 * len(self._table))), self._threshold)
        return self._table


class Target:
    """Texts that others are compared with."""

    def __init__(self, texts: Sequence[str], threshold: float, alphabet: Alphabet | None = None) -> None:
        self._texts = texts
        self._threshold = threshold
        self._alphabet = alphabet or make_alphabet([texts])
        self._distances = Distances(threshold)
        self._profile = profile_of(texts, self._alphabet)
        self._longest = int(self._profile.lengths.max(initial=0))
        order = np.argsort(self._profile.lengths, kind="stable")
        self._tiles = profiles.build_tiles(order, self._profile, self._distances.up_to(2 * self._longest), _WIDE_BUDGET)

    def pairs(self, texts: Sequence[str]) -> Pairs:
        """Positions in ``texts``, positions in the target and scores of all similar pairs, in no order."""
        found: list[Pairs] = []
        by_length = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), ROWS):
            rows = by_length[start : start + ROWS]
            block = [texts[row] for row in rows]
            profile = profile_of(block, self._alphabet)
            distances = self._distances.up_to(int(profile.lengths[-1]) + self._longest)
            candidates = find(np.arange(len(rows)), profile, self._tiles, self._profile, distances, self._alphabet)
            left, right, scores = score_pairs(block, self._texts, *candidates, self._threshold)
            found.append((rows[left], right, scores))
        return concatenate(found)


class Pool:
    """A list of texts, of which some are compared with others that were added before: for deduplication.

    Texts are numbered by their position in the list, and the list is in order of length, longest first.
    """

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._texts = texts
        self._threshold = threshold
        self._alphabet = make_alphabet([texts])
        self._profile = _concatenated_profile(texts, self._alphabet)
        self._distances = Distances(threshold).up_to(2 * int(self._profile.lengths.max(initial=0)))

    def tiles(self, members: Numbers) -> profiles.Tiles:
        """Tiles of the texts ``members`` (ascending positions)."""
        tiles: profiles.Tiles = profiles.build_tiles(members[::-1].copy(), self._profile, self._distances, _WIDE_BUDGET)
        return tiles

    def pairs(self, rows: Numbers, tiles: profiles.Tiles, earlier: bool) -> Pairs:
        """Similar pairs of texts ``rows`` and members of ``tiles`` (with ``earlier``, those before the row)."""
        found = []
        for start in range(0, len(rows), ROWS):
            block = rows[start : start + ROWS][::-1].copy()
            candidates = find(block, self._profile, tiles, self._profile, self._distances, self._alphabet, earlier)
            found.append(score_pairs(self._texts, self._texts, *candidates, self._threshold))
        return concatenate(found)

    def shortest_similar(self, length: int) -> int:
        """Length below which no text is similar to one of ``length``."""
        lengths = np.arange(length + 1)
        return int(np.argmax(length - lengths <= self._distances[lengths + length]))


def profile_of(texts: Sequence[str], alphabet: Alphabet) -> profiles.Profile:
    """Profile of the texts."""
    profile: profiles.Profile = profiles.build_profile(*code_points(texts), alphabet.slots)
    return profile


def find(
    rows: Numbers,
    profile: profiles.Profile,
    tiles: profiles.Tiles,
    members: profiles.Profile,
    distances: Numbers,
    alphabet: Alphabet,
    earlier: bool = False,
) -> tuple[Numbers, Numbers]:
    """Pairs of ``rows`` (ascending lengths) of a profile and members of tiles that the bounds do not rule out."""
    narrow, wide = profiles.gather_counts(rows, profile)
    last = len(tiles.wide_start)
    found: tuple[Numbers, Numbers] = kernels.find_candidates(
        rows, profile, narrow, wide, tiles, members, 0, last, distances, alphabet.order, earlier
    )
    return found


def _concatenated_profile(texts: Sequence[str], alphabet: Alphabet) -> profiles.Profile:
    """Profile of many texts, built in blocks so that their code points are never in memory at once."""
    step = 16 * ROWS
    parts = [profile_of(texts[start : start + step], alphabet) for start in range(0, max(1, len(texts)), step)]
    used = [int(part.starts[-1]) for part in parts]
    padding = max(len(part.words) - length for part, length in zip(parts, used, strict=True))
    words = np.zeros(sum(used) + padding, dtype=np.uint32)
    starts = [np.zeros(1, dtype=np.int64)]
    offset = 0
    for part, length in zip(parts, used, strict=True):
        words[offset : offset + length] = part.words[:length]
        starts.append(part.starts[1:] + offset)
        offset += length
    return profiles.Profile(
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate(starts),
        words,
    )
