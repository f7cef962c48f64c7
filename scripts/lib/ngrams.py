"""Runs of tokens that questions share with reference texts: the published decontamination's second half.

Two texts match when they share an n-gram of token ids. Every text is tokenized once and all references are looked up at
once. What is reported for a pair is its longest shared run, as a length in tokens and as text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.tokens import TokenIds, Tokenizer, decode, encode_stream

_TOKEN_BYTES = 4


@dataclass(frozen=True, order=True)
class SharedRun:
    """The longest run of tokens that the text at ``text`` shares with the reference at ``reference``."""

    text: int
    reference: int
    tokens: int
    shared_text: str


class NgramIndex:
    """All n-grams of token ids of a list of reference texts."""

    def __init__(self, tokenizer: Tokenizer, references: Sequence[str], n: int) -> None:
        self._tokenizer = tokenizer
        self._n = n
        self._postings: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
        for reference, ids in enumerate(encode_stream(tokenizer, references)):
            for position, gram in enumerate(_grams(ids, n)):
                self._postings[gram].append((reference, position))
        self._postings.default_factory = None

    def find(self, texts: Sequence[str]) -> list[SharedRun]:
        """The longest shared run of every text and reference that share an n-gram, sorted by text, then reference."""
        return [
            run
            for text, ids in enumerate(encode_stream(self._tokenizer, texts))
            for run in self._runs_of_text(text, ids)
        ]

    def _runs_of_text(self, text: int, ids: TokenIds) -> list[SharedRun]:
        longest: dict[int, tuple[int, int]] = {}  # reference -> (grams in the run, -start)
        running: dict[tuple[int, int], int] = {}  # diagonal -> grams of the run that ends here
        for position, gram in enumerate(_grams(ids, self._n)):
            hits = self._postings.get(gram)
            if hits is None:
                running = {}
                continue
            ending: dict[tuple[int, int], int] = {}
            for reference, where in hits:
                grams = running.get((reference, where - 1), 0) + 1
                ending[reference, where] = grams
                longest[reference] = max(longest.get(reference, (0, 0)), (grams, grams - 1 - position))
            running = ending
        return [
            SharedRun(text, reference, grams + self._n - 1, self._text(ids[-start : -start + grams + self._n - 1]))
            for reference, (grams, start) in sorted(longest.items())
        ]

    def _text(self, ids: TokenIds) -> str:
        return decode(self._tokenizer, ids)


def _grams(ids: TokenIds, n: int) -> list[bytes]:
    raw = np.ascontiguousarray(ids, dtype=np.uint32).tobytes()
    return [
        raw[start : start + n * _TOKEN_BYTES] for start in range(0, len(raw) - (n - 1) * _TOKEN_BYTES, _TOKEN_BYTES)
    ]
