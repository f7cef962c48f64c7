"""Rows planted among the demo's questions, each of which a stage must treat in a way known beforehand.

Entry: ``originals`` (a catalog entry, of whose questions copies are made), ``benchmark`` (a catalog entry, of whose
questions leaks are made), ``seed``, and the number of each kind:

- ``exact``: an original and a copy of it; ``near``: an original and a copy lightly edited;
- ``repeated``: an original in two rows, wanted twice;
- ``verbatim``, ``edited``, ``embedded``: a benchmark question as it is, lightly edited, and inside a longer text.

Metadata: ``{"planted": kind, "of": id of the question it was made of}``; originals are of kind ``original``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash, question_id
from openthoughts.sources.connectors import Connector
from openthoughts.sources.rows import Entry, Row, metadata_json, raw_batch

if TYPE_CHECKING:
    import polars as pl

COPIES = ("exact", "near", "repeated")
LEAKS = ("verbatim", "edited", "embedded")
WORDS_BETWEEN_EDITS = 8
"""An edit every eighth word leaves no run of thirteen words whole, and over nine tenths of the characters."""

MIN_WORDS, MAX_WORDS = 12, 80
"""Questions are planted from texts of this length: long enough to edit, short enough for a small model."""

PREAMBLE = (
    "Our reading group met on a rainy Thursday to talk about how people learn to reason. Somebody brought a notebook "
    "from school with a page of exercises, half of them solved in pencil, and we copied out the one that nobody could "
    "finish before the tea was cold. Explain to a beginner, slowly and with every step, how you would go about it, "
    "then compare your way with one other way, and say which of the two you would teach first and why. Here is the "
    "exercise as it stood on the page, followed by a few remarks that somebody had written in the margin: "
)
REMARKS = (
    " The remarks said that the first idea is seldom the best one, that a drawing helps more often than a formula, "
    "that small cases should be tried before large ones, and that an answer without a check is only half an answer."
)


def edited(text: str, seed: int) -> str:
    """``text`` with one of every eight words left out, chosen by the seed and the text."""
    words = text.split(" ")
    offset = keyed_hash(seed, question_id(text), salt="edit") % min(WORDS_BETWEEN_EDITS, len(words))
    return " ".join(word for number, word in enumerate(words) if number % WORDS_BETWEEN_EDITS != offset)


def near(text: str, seed: int) -> str:
    """``text`` without one of its words, chosen by the seed and the text: far over nine tenths remain."""
    words = text.split(" ")
    offset = keyed_hash(seed, question_id(text), salt="near") % len(words)
    return " ".join(words[:offset] + words[offset + 1 :])


def _chosen(entry: Entry, seed: int, count: int, what: str) -> list[dict[str, Any]]:
    """``count`` different questions of a nested entry, by the smallest keyed hashes."""
    import polars as pl

    from openthoughts.sources.reading import read_questions

    table = pl.concat(read_questions(what, "", entry)).unique("question_id", keep="first", maintain_order=True)
    words = pl.col("question").str.split(" ").list.len()
    rows = table.filter(words.is_between(MIN_WORDS, MAX_WORDS)).to_dicts()
    if len(rows) < count:
        raise UserError(f"`{what}` has {len(rows)} questions of {MIN_WORDS} to {MAX_WORDS} words, {count} are wanted.")
    return sorted(rows, key=lambda row: keyed_hash(seed, row["question_id"], salt=what))[:count]


def _planted(kind: str, number: int, of: Mapping[str, Any], text: str, suffix: str = "") -> Row:
    metadata = metadata_json(planted=kind, of=of["question_id"])
    return f"{kind}-{number}{suffix}", text, of["reference_answer"], metadata


def _copies(kind: str, number: int, of: Mapping[str, Any], seed: int) -> list[Row]:
    original = of["question"]
    if kind == "repeated":
        return [_planted(kind, number, of, original, suffix) for suffix in ("a", "b")]
    copy = original if kind == "exact" else near(original, seed)
    first = metadata_json(planted="original", of=of["question_id"])
    return [
        (f"{kind}-{number}-original", original, of["reference_answer"], first),
        _planted(kind, number, of, copy),
    ]


def _leak(kind: str, number: int, of: Mapping[str, Any], seed: int) -> Row:
    question = of["question"]
    texts = {"verbatim": question, "edited": edited(question, seed), "embedded": PREAMBLE + question + REMARKS}
    return _planted(kind, number, of, texts[kind])


def _spread(entry: Entry, kinds: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(kind, number) for kind in kinds for number in range(entry.get(kind, 0))]


def _read(entry: Entry) -> Iterator[pl.DataFrame]:
    """Yield the planted rows, kind by kind; no two are made of the same question."""
    seed = int(entry.get("seed", 0))
    copies, leaks = _spread(entry, COPIES), _spread(entry, LEAKS)
    rows: list[Row] = []
    for (kind, number), of in zip(copies, _chosen(entry["originals"], seed, len(copies), "originals"), strict=True):
        rows += _copies(kind, number, of, seed)
    if leaks:
        if "benchmark" not in entry:
            raise UserError("leaks are planted from a benchmark: name its entry as `benchmark`.")
        chosen = _chosen(entry["benchmark"], seed, len(leaks), "benchmark")
        rows += [_leak(kind, number, of, seed) for (kind, number), of in zip(leaks, chosen, strict=True)]
    yield raw_batch(rows)


class Planted(Connector):
    """Rows that a stage must treat in a way known beforehand."""

    originals: dict[str, Any] = Field(description="The entry whose questions are copied.")
    benchmark: dict[str, Any] | None = Field(None, description="The entry whose questions are leaked.")
    exact: NonNegativeInt = Field(0, description="Rows of this kind.")
    near: NonNegativeInt = Field(0, description="Rows of this kind.")
    repeated: NonNegativeInt = Field(0, description="Rows of this kind.")
    verbatim: NonNegativeInt = Field(0, description="Rows of this kind.")
    edited: NonNegativeInt = Field(0, description="Rows of this kind.")
    embedded: NonNegativeInt = Field(0, description="Rows of this kind.")

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        yield from _read(self.written())
