"""CHAMP: 270 competition problems with answers, of the package champ-dataset (MIT).

Entry: ``part`` is ``source`` (about 70 % of the problems), ``benchmark`` (the others) or ``all``; the split is by the
question's hash, so no problem is on both sides. ``numeric: true`` keeps the problems whose answer is a plain number.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.sources.connectors import Connector
from openthoughts.sources.rows import Entry, Row, metadata_json, raw_batch
from openthoughts.sources.text import answer_text, valid_text

if TYPE_CHECKING:
    import polars as pl

SOURCE_SHARE = 0.7


def part_of(question: str) -> str:
    """The part, ``source`` or ``benchmark``, that a problem belongs to, by its question's hash."""
    return "source" if int(question_id(question)[:8], 16) < SOURCE_SHARE * 2**32 else "benchmark"


def is_number(answer: str | None) -> bool:
    """Whether an answer is a plain number: an integer, a decimal or a fraction."""
    return answer is not None and re.fullmatch(r"-?\d+(\.\d+|/\d+)?", answer) is not None


@functools.cache
def _problems() -> tuple[Row, ...]:
    spec = importlib.util.find_spec("champ_dataset")
    if spec is None or spec.origin is None:
        raise UserError("the package champ-dataset is not installed: run `make setup`.")
    path = Path(spec.origin).parent / "dataset_files" / "v0.json"
    problems = json.loads(path.read_text(encoding="utf-8"))["problems"]
    return tuple(
        (key, valid_text(one["_text"]), answer_text(one["_answer"]), metadata_json(category=one["category"]))
        for key, one in problems.items()
    )


def _read(entry: Entry) -> Iterator[pl.DataFrame]:
    """Yield the part's problems in the order of their question ids, so that the first n are of every category."""
    part = entry["part"]
    rows = [row for row in _problems() if part in ("all", part_of(row[1] or ""))]
    if entry.get("numeric"):
        rows = [row for row in rows if is_number(row[2])]
    yield raw_batch(sorted(rows, key=lambda row: question_id(row[1] or "")))


class Champ(Connector):
    """The problems of CHAMP."""

    part: Literal["source", "benchmark", "all"] = Field(description="Which part of the problems.")
    numeric: bool = Field(False, description="Whether only problems whose answer is a plain number are kept.")

    package: ClassVar[str | None] = "champ-dataset"

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        yield from _read(self.written())
