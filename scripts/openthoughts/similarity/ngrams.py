"""Runs of tokens that questions share with reference texts: the published decontamination's second half.

Two texts match when they share an n-gram of token ids. All references are looked up at once, and what is reported for a
pair is its longest shared run, as a length in tokens and as text.

Tokenizing costs far more than looking up. A byte-level tokenizer keeps the bytes of a text, so texts that share an
n-gram share its bytes: those that hold the bytes of no n-gram of a reference are not tokenized at all.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openthoughts.models.tokenizers import TokenIds, Tokenizer, decode, encode_stream
from openthoughts.similarity import Engine

if TYPE_CHECKING:
    from openthoughts.similarity.ngram_runs import RunFinder
    from openthoughts.similarity.ngram_windows import Needles

_TOKEN_BYTES = 4
_FEW_CHARACTERS = 1_000_000
"""Fewer than this are done in Python sooner than compiled code is loaded."""

_BATCH = 4096


@dataclass(frozen=True, order=True)
class SharedRun:
    """The longest run of tokens that the text at ``text`` shares with the reference at ``reference``."""

    text: int
    reference: int
    tokens: int
    shared_text: str


class NgramIndex:
    """All n-grams of token ids of a list of reference texts."""

    def __init__(self, tokenizer: Tokenizer, references: Sequence[str], n: int, *, engine: Engine = "auto") -> None:
        """Tokenize ``references``. The engine changes no result; ``auto`` is compiled where there is enough to do."""
        self._tokenizer = tokenizer
        self._n = n
        self._engine = engine
        self._references = references
        self._ids = list(encode_stream(tokenizer, references))

    def find(self, texts: Sequence[str]) -> list[SharedRun]:
        """The longest shared run of every text and reference that share an n-gram, sorted by text, then reference."""
        compiled = self._engine == "compiled" or (
            self._engine == "auto" and sum(map(len, texts)) >= _FEW_CHARACTERS and _numba_runs()
        )
        return list(self._find_compiled(texts) if compiled else self._find_plain(texts))

    def _find_plain(self, texts: Sequence[str]) -> Iterator[SharedRun]:
        for text, ids in enumerate(encode_stream(self._tokenizer, texts)):
            for reference, (grams, start) in sorted(self._postings.longest(_grams(ids, self._n)).items()):
                yield self._run(text, reference, ids, start, grams + self._n - 1)

    def _find_compiled(self, texts: Sequence[str]) -> Iterator[SharedRun]:
        suspects = range(len(texts)) if self._needles is None else self._suspects(texts, self._needles)
        for first in range(0, len(suspects), _BATCH):
            batch = suspects[first : first + _BATCH]
            encoded = self._tokenizer.encode_batch([texts[text] for text in batch])
            columns = [column.tolist() for column in self._finder.find(encoded)]
            for text, reference, start, length in zip(*columns, strict=True):
                yield self._run(batch[text], reference, encoded[text], start, length)

    def _run(self, text: int, reference: int, ids: TokenIds, start: int, length: int) -> SharedRun:
        return SharedRun(text, reference, length, decode(self._tokenizer, ids[start : start + length]))

    def _suspects(self, texts: Sequence[str], needles: Needles) -> list[int]:
        """Positions of the texts that hold the bytes of an n-gram (and a few that do not)."""
        suspected: list[int] = np.flatnonzero(needles.suspects([self._bytes(text) for text in texts])).tolist()
        return suspected

    def _bytes(self, text: str) -> bytes:
        return (text if text.isascii() else self._tokenizer.normalise(text)).encode("utf-8", "surrogatepass")

    @functools.cached_property
    def _postings(self) -> _Postings:
        return _Postings(self._ids, self._n)

    @functools.cached_property
    def _finder(self) -> RunFinder:
        from openthoughts.similarity.ngram_runs import RunFinder

        return RunFinder(self._ids, self._n)

    @functools.cached_property
    def _needles(self) -> Needles | None:
        """The bytes of all n-grams; None where bytes say nothing about tokens."""
        from openthoughts.similarity.ngram_windows import Needles

        if not self._tokenizer.lossless:
            return None
        sizes = _TokenSizes(self._tokenizer)
        data = [self._bytes(text) for text in self._references]
        starts, ends = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        offset = 0
        for text, ids in zip(data, self._ids, strict=True):
            bounds = offset + np.concatenate([[0], np.cumsum(sizes.of(ids))]).astype(np.int64)
            offset += len(text)
            if bounds[-1] != offset:  # the tokenizer does not keep this text's bytes after all
                return None
            starts.append(bounds[: max(0, len(ids) - self._n + 1)])
            ends.append(bounds[self._n :])
        return Needles(b"".join(data), np.concatenate(starts), np.concatenate(ends), self._n)


class _Postings:
    """Where every n-gram of the references occurs, in Python's own dictionaries."""

    def __init__(self, references: Sequence[TokenIds], n: int) -> None:
        self._places: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
        for reference, ids in enumerate(references):
            for position, gram in enumerate(_grams(ids, n)):
                self._places[gram].append((reference, position))
        self._places.default_factory = None

    def longest(self, grams: Sequence[bytes]) -> dict[int, tuple[int, int]]:
        """For every reference that shares any of a text's n-grams: how many its longest run has, and where it starts.

        Of equally long runs it is the first.
        """
        longest: dict[int, tuple[int, int]] = {}
        running: dict[tuple[int, int], int] = {}  # reference and place -> n-grams of the run that ends there
        for position, gram in enumerate(grams):
            ending: dict[tuple[int, int], int] = {}
            for reference, place in self._places.get(gram, ()):
                count = running.get((reference, place - 1), 0) + 1
                ending[reference, place] = count
                if count > longest.get(reference, (0, 0))[0]:
                    longest[reference] = (count, position - count + 1)
            running = ending
        return longest


def _grams(ids: TokenIds, n: int) -> list[bytes]:
    raw = np.ascontiguousarray(ids, dtype=np.uint32).tobytes()
    return [
        raw[start : start + n * _TOKEN_BYTES] for start in range(0, len(raw) - (n - 1) * _TOKEN_BYTES, _TOKEN_BYTES)
    ]


def _numba_runs() -> bool:
    try:
        import openthoughts.similarity.ngram_runs  # noqa: F401
    except ImportError:
        return False
    return True


class _TokenSizes:
    """How many bytes each token stands for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, int] = {}

    def of(self, ids: TokenIds) -> NDArray[np.int64]:
        tokens = ids.tolist()
        for token in {token for token in tokens if token not in self._known}:
            self._known[token] = len(self._tokenizer.token_bytes([token]))
        return np.array([self._known[token] for token in tokens], dtype=np.int64)
