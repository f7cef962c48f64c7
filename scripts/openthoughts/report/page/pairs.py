"""Dropped questions beside what they were dropped for, as rows of the page's lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.tables import scan_table
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.side_by_side import common_parts, occurrences

MOST_CHARACTERS = 4000
"""Characters of a text that the page holds of a pair."""

Row = dict[str, Any]
Span = tuple[int, int]


def leaks(recipe: Recipe, most: int) -> list[Row]:
    """At most ``most`` questions beside the benchmark questions that they match, evenly over benchmarks and methods."""
    found = [
        scan_table(stage.folder / "dropped.parquet", {"benchmark": pl.String}).collect()
        for stage in recipe.of_kind("clean")
    ]
    evidence = _sample(pl.concat(found), ["benchmark", "method"], most) if found else pl.DataFrame()
    if evidence.is_empty():
        return []
    ours = _texts([*recipe.of_kind("source"), *recipe.of_kind("written")], evidence["question_id"])
    theirs = _texts(recipe.of_kind("benchmark"), evidence["benchmark_question_id"])
    rows = []
    for row in evidence.iter_rows(named=True):
        left, right = ours.get(row["question_id"], ""), theirs.get(row["benchmark_question_id"], "")
        if row["shared_text"]:
            marks = occurrences(left, row["shared_text"]), occurrences(right, row["shared_text"])
            verdict = f"shares {row['score']:.0f} tokens in a row with"
        else:
            marks = common_parts(left, right)
            verdict = f"is {row['score']:.1f} % similar to"
        title = f"{row['source']} {verdict} {row['benchmark']} ({row['method']})"
        sides = [(f"{row['source']}, row {row['source_row']}", left, marks[0]), (row["benchmark"], right, marks[1])]
        rows.append(_pair(f"{row['benchmark']}, {row['method']}", title, sides))
    return rows


def duplicates(recipe: Recipe, most: int) -> list[Row]:
    """At most ``most`` similar questions beside those that were kept (equal ones have nothing to compare)."""
    rows: list[Row] = []
    for stage in recipe.of_kind("deduplicated"):
        dropped = scan_table(stage.folder / "dropped.parquet", {"kept_question_id": pl.String})
        fuzzy = dropped.filter(pl.col("reason") == "fuzzy").collect()
        evidence = _sample(fuzzy, ["reason"], most)
        texts = _texts(recipe.inputs(stage, "questions"), [*evidence["question_id"], *evidence["kept_question_id"]])
        for row in evidence.iter_rows(named=True):
            left, right = texts.get(row["question_id"], ""), texts.get(row["kept_question_id"], "")
            title = f"{row['source']}, row {row['source_row']}: {row['score']:.1f} % similar to one that was kept"
            marks = common_parts(left, right)
            sides = [("dropped", left, marks[0]), (f"kept: {row['kept_source']}", right, marks[1])]
            rows.append(_pair(stage.domain or "", title, sides))
    return rows[:most]


def marked(text: str, spans: Sequence[Span]) -> list[tuple[str, int]]:
    """A text in pieces, each with 1 where a span marks it; cut after ``MOST_CHARACTERS``."""
    pieces: list[tuple[str, int]] = []
    end = 0
    for start, stop in sorted(spans):
        pieces += [(text[end:start], 0), (text[start:stop], 1)]
        end = stop
    pieces.append((text[end:], 0))
    kept, room = [], MOST_CHARACTERS
    for piece, mark in pieces:
        if piece and room > 0:
            kept.append((piece[:room], mark))
            room -= len(piece)
    return [*kept, ("…", 0)] if room < 0 else kept


def _pair(group: str, verdict: str, sides: Iterable[tuple[str, str, Sequence[Span]]]) -> Row:
    shown = [(label, marked(text, spans)) for label, text, spans in sides]
    return {"group": group, "verdict": verdict, "sides": shown}


def _sample(evidence: pl.DataFrame, by: Sequence[str], most: int) -> pl.DataFrame:
    """At most ``most`` rows of different questions, equally many of each group where they last, in a fixed order."""
    if evidence.is_empty():
        return evidence
    distinct = evidence.sort("question_id", "source", "source_row").unique([*by, "question_id"], keep="first")
    place = pl.int_range(pl.len()).over(list(by), order_by="question_id").alias("place")
    chosen = distinct.with_columns(place).sort("place", *by, "question_id").head(most)
    return chosen.sort(*by, "question_id").drop("place")


def _texts(stages: Sequence[Stage], ids: Iterable[str]) -> Mapping[str, str]:
    """The texts of some questions."""
    wanted = pl.LazyFrame({"question_id": sorted(set(ids))}, schema={"question_id": pl.String})
    found: dict[str, str] = {}
    for path in dict.fromkeys(stage.path for stage in stages):
        found |= _of_table(path, wanted)
    return found


def _of_table(path: Path, wanted: pl.LazyFrame) -> dict[str, str]:
    table = scan_table(path, {"question_id": pl.String, "question": pl.String}).select("question_id", "question")
    rows = table.join(wanted, on="question_id", how="semi").unique("question_id").collect()
    return {identity: text or "" for identity, text in rows.iter_rows()}
