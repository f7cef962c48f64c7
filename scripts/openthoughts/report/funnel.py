"""How many questions and answers each stage of a recipe keeps and drops, by domain and source, and that it adds up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.tables import scan_table
from openthoughts.plan.register import DROPPING
from openthoughts.report.manifest import Recipe, Stage

Counts = dict[str, int]
Row = dict[str, Any]

_KEYS = {"source": pl.String, "source_row": pl.String}


def funnel(recipe: Recipe) -> list[Row]:
    """The funnel of a recipe: a row for each stage of questions or answers, domain and source, in order.

    A row: ``stage`` (kind), ``id``, ``domain``, ``source`` (null for answers), ``rows``, ``questions`` (different),
    ``dropped`` (reason -> rows; several reasons of one row are joined by "and") and ``repeated`` (those of the rows
    that a draw with ``fill`` added). Raises ``UserError`` where what a stage kept and what it dropped are not together
    what it was given.
    """
    rows: list[Row] = []
    for domain, stages in recipe.domains().items():
        for stage in stages:
            rows += _questions(recipe, stage, domain)
    for filtered in recipe.of_kind("filtered"):
        rows += _answers(recipe, filtered)
    rows += _dataset(recipe)
    return rows


def _questions(recipe: Recipe, stage: Stage, domain: str) -> Iterator[Row]:
    kept = found = _by_source(stage.path)
    dropped = _dropped_by_source(stage) if stage.kind in DROPPING else {}
    if stage.kind in DROPPING:
        given: Counts = {}
        for before in recipe.inputs(stage, "questions"):
            for source, (rows, _) in _by_source(before.path).items():
                given[source] = given.get(source, 0) + rows
        if stage.settings.get("fill"):  # the repeats come after the first round, which has each given row once
            kept = _by_source(stage.path, sum(given.values()))
        for source in given.keys() | kept.keys() | dropped.keys():
            parts = kept.get(source, (0, 0))[0], sum(dropped.get(source, {}).values())
            _adds_up(stage, source, given.get(source, 0), *parts)
    for source in sorted(found.keys() | dropped.keys()):
        rows, questions = found.get(source, (0, 0))
        repeated = rows - kept.get(source, (0, 0))[0]
        yield _row(stage, domain, source, rows, questions, dropped.get(source, {}), repeated)


def _answers(recipe: Recipe, filtered: Stage) -> Iterator[Row]:
    (answers,) = recipe.inputs(filtered, "answers")
    reasons = scan_table(filtered.folder / "dropped.parquet", {"reason": pl.String})
    short = pl.col("reason").str.replace(r"^(failed).*", "$1")
    dropped = dict(reasons.group_by(short.alias("reason")).agg(pl.len()).sort("reason").collect().iter_rows())
    given, kept = (_answered(stage.path) for stage in (answers, filtered))
    _adds_up(filtered, filtered.domain or "answers", given[0], kept[0], sum(dropped.values()))
    yield _row(answers, filtered.domain, None, *given, {})
    yield _row(filtered, filtered.domain, None, *kept, dropped)


def _dataset(recipe: Recipe) -> Iterator[Row]:
    for dataset in recipe.of_kind("dataset"):
        kept = sum(_answered(stage.path)[0] for stage in recipe.inputs(dataset, "answers"))
        found = _answered(dataset.path)
        _adds_up(dataset, "answers", kept, found[0], 0)
        yield _row(dataset, None, None, *found, {})


def _row(
    stage: Stage, domain: str | None, source: str | None, rows: int, questions: int, dropped: Mapping[str, int],
    repeated: int = 0,
) -> Row:  # fmt: skip
    return {
        "stage": stage.kind, "id": stage.identity, "domain": domain, "source": source, "rows": rows,
        "questions": questions, "dropped": dict(dropped), "repeated": repeated,
    }  # fmt: skip


def _adds_up(stage: Stage, what: str, given: int, kept: int, dropped: int) -> None:
    if given != kept + dropped:
        raise UserError(
            f"{stage.folder}: of {given:,} rows of {what}, {kept:,} are kept and {dropped:,} are dropped, which does "
            "not add up: delete the folder and run again."
        )


def _by_source(path: Path, first: int | None = None) -> dict[str, tuple[int, int]]:
    """Source -> its rows and its different questions, of the ``first`` rows of a table or of all."""
    table = scan_table(path, {**_KEYS, "question_id": pl.String})
    table = table if first is None else table.head(first)
    counted = table.group_by("source").agg(pl.len(), pl.col("question_id").n_unique().alias("questions")).collect()
    return {source: (rows, questions) for source, rows, questions in counted.iter_rows()}


def _answered(path: Path) -> tuple[int, int]:
    """Answers, and the different questions that they are to."""
    table = scan_table(path, {"question_id": pl.String})
    return table.select(pl.len(), pl.col("question_id").n_unique().alias("questions")).collect().row(0)


def _dropped_by_source(stage: Stage) -> dict[str, Counts]:
    """Source -> reason -> dropped rows; a row that was dropped for several reasons counts once."""
    table = scan_table(stage.folder / "dropped.parquet", {**_KEYS, "reason": pl.String})
    reasons = pl.col("reason").unique().sort().str.join(" and ").alias("reason")
    rows = table.group_by("source", "source_row").agg(reasons).group_by("source", "reason").agg(pl.len())
    found: dict[str, Counts] = {}
    for source, reason, count in rows.sort("source", "reason").collect().iter_rows():
        found.setdefault(source, {})[reason] = count
    return found


def by_stage(rows: Sequence[Mapping[str, Any]], domain: str) -> list[Row]:
    """The funnel of one domain's questions with the rows of its sources added up, one row a kind of stage."""
    summed: dict[str, Row] = {}
    for row in rows:
        if row["domain"] != domain or row["source"] is None:
            continue
        nothing = {"stage": row["stage"], "rows": 0, "questions": 0, "dropped": {}, "repeated": 0}
        one = summed.setdefault(row["stage"], nothing)
        for key in ("rows", "questions", "repeated"):
            one[key] += row.get(key, 0)
        for reason, count in row["dropped"].items():
            one["dropped"][reason] = one["dropped"].get(reason, 0) + count
    return list(summed.values())


def repeats(row: Mapping[str, Any]) -> str:
    """What to say behind the stage of a row of ``by_stage`` about the rows that its draw repeats."""
    return f" ({row['repeated']:,} of them repeats)" if row["repeated"] else ""
