"""Where the questions went that a draw is short of: what each stage before it was given, and what it left of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.tables import DROPPED, QUESTIONS, scan_table

MOST_REASONS = 3
"""Reasons named of one stage, from the most frequent."""


def taken_before(before: Sequence[tuple[str, Sequence[Path]]]) -> str:
    """One sentence that says what each stage before a draw dropped, ending in a blank; empty where none is named.

    ``before``: the name of a stage and its tables of questions, beside which lies what was dropped, in the order of the
    data. The first is where the questions come from.
    """
    if not before:
        return ""
    if gone := [path for _, tables in before for path in tables if not path.is_file()]:
        return f"Which stage took them cannot be told, as {gone[0]} is not there. "
    (_, first), *later = before
    rows, questions = _counted(first)
    told = []
    started = f"{rows:,} rows of {questions:,} different questions were read"
    for name, tables in later:
        left = _counted(tables)
        reasons = _reasons([path.with_name("dropped.parquet") for path in tables])
        dropped = f"`{name}` dropped {rows - left[0]:,} rows ({questions - left[1]:,} questions)"
        told.append(f"{dropped}: {reasons}" if reasons else dropped)
        rows, questions = left
    return f"{started}; {'; '.join(told)}. " if told else f"{started}. "


def _counted(tables: Sequence[Path]) -> tuple[int, int]:
    """Rows, and different questions among them."""
    rows = pl.concat([scan_table(path, QUESTIONS).select("question_id") for path in tables])
    counted = rows.select(pl.len(), pl.col("question_id").n_unique().alias("questions"))
    return counted.collect(engine="streaming").row(0)


def _reasons(tables: Sequence[Path]) -> str:
    """The most frequent reasons with their rows; a row that was dropped for several counts for each."""
    dropped = [scan_table(path, DROPPED).select("source", "source_row", "reason") for path in tables if path.is_file()]
    if not dropped:
        return ""
    counted = pl.concat(dropped).unique().group_by("reason").len().sort("len", "reason", descending=[True, False])
    found = counted.collect(engine="streaming").rows()
    told = [f"{rows:,} {reason}" for reason, rows in found[:MOST_REASONS]]
    return ", ".join([*told, "…"] if len(found) > MOST_REASONS else told)
