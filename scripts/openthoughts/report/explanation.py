"""What became of one question in a folder of results, stage by stage, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.plan.register import KINDS
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.side_by_side import common_parts, occurrences, side_by_side

FLOW = tuple(kind.folder for kind in KINDS.values())
"""Folders of the results in the order in which the data flows; others come after them."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """How an explanation is written: cells in a line, colour or brackets, matches shown of each stage (0: all)."""

    width: int = 100
    colour: bool = False
    matches: int = 3


class Results:
    """The tables of a folder of results that know questions by their id."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist: name the folder of results with --results.")
        self.folder = folder

    def tables(self, name: str) -> list[Path]:
        """The tables called ``name`` of all stages, in the order of the flow."""
        found = self.folder.glob(f"*/*/{name}.parquet")
        return sorted(found, key=lambda path: (*_place_in_flow(path.parent.parent.name), path.parent.name))

    def rows(self, table: Path, column: str, value: str) -> list[Row]:
        """The rows of a table that have ``value`` in a column."""
        scan = pl.scan_parquet(table, glob=False)
        if column not in scan.collect_schema().names():
            return []
        return scan.filter(pl.col(column) == value).collect().to_dicts()

    def place(self, stage: str, label: float | None) -> str:
        """Which place a label has among all of its source, in words; nothing for a question without one."""
        if label is None:
            return ""
        labels = pl.scan_parquet(self.folder / stage / "labels.parquet", glob=False)
        better, known = (
            labels.select((pl.col("value") > label).sum(), pl.col("value").count().alias("all")).collect().row(0)
        )
        return f" (place {better + 1:,} of {known:,})"

    def text(self, question_id: str, benchmark: bool = False) -> str | None:
        """The text of a question, from the benchmarks or from wherever it is found first."""
        for table in self.tables("questions"):
            if (table.parent.parent.name == "benchmarks") == benchmark:
                for row in self.rows(table, "question_id", question_id):
                    return str(row["question"])
        return None

    def resolve(self, name: str) -> str:
        """The id of the question that ``name`` means: an id, the first digits of one, or SOURCE:ROW.

        Raises ``UserError`` where it means none, or several.
        """
        wanted = pl.col("question_id").str.starts_with(name.lower())
        if ":" in name:
            source, row = name.split(":", 1)
            wanted = (pl.col("source") == source) & (pl.col("source_row") == row)
        found: set[str] = set()
        for table in [*self.tables("questions"), *self.tables("dropped")]:
            found.update(pl.scan_parquet(table, glob=False).filter(wanted).collect()["question_id"].unique())
        if not found:
            raise UserError(f"{self.folder} has no question '{name}': give an id, its first digits, or SOURCE:ROW.")
        if len(found) > 1:
            raise UserError(f"'{name}' is the beginning of {len(found)} questions' ids: give more digits.")
        return found.pop()


def explain(results: Results, name: str, look: Look) -> Iterator[str]:
    """Lines that say what became of a question, with the texts it was dropped for beside its own."""
    question_id = results.resolve(name)
    text = results.text(question_id) or results.text(question_id, benchmark=True) or ""
    yield f"question {question_id}"
    yield ""
    yield from (f"  {line}" for line in text.splitlines())
    yield ""
    for table in sorted(
        [*results.tables("questions"), *results.tables("dropped"), *results.tables("labels")],
        key=lambda path: (*_place_in_flow(path.parent.parent.name), path.parent.name, path.name != "questions.parquet"),
    ):
        rows = results.rows(table, "question_id", question_id)
        if rows:
            stage = f"{table.parent.parent.name}/{table.parent.name}"
            yield from _of_stage(results, stage, table.stem, rows, text, look)
    yield from _answers(results, question_id)
    yield from _recipes(results, question_id)


def _answers(results: Results, question_id: str) -> Iterator[str]:
    """The answers to the question, and what they say together."""
    for table in sorted(results.folder.glob("answers/*/completions.parquet")):
        rows = results.rows(table, "question_id", question_id)
        if rows:
            yield f"answers/{table.parent.name}: {len(rows)} answers"
        for row in sorted(rows, key=lambda row: int(row["sample"])):
            ended = row["error"] or f"{row['completion_tokens']} tokens, {row['finish_reason']}"
            yield f"  sample {row['sample']}: {ended}"
    for table in sorted(results.folder.glob("measured/*/measures.parquet")):
        rows = results.rows(table, "question_id", question_id)
        if rows and rows[0]["majority_answer"] is not None:
            agreement = 100 * (rows[0]["agreement"] or 0)
            yield f"measured/{table.parent.name}: majority {rows[0]['majority_answer']} ({agreement:.0f} % agree)"


def _recipes(results: Results, question_id: str) -> Iterator[str]:
    """The recipes, by folder name, whose stages know the question: where it is from, and its rows in the dataset."""
    for path in sorted(results.folder.glob("recipes/*/manifest.json")):
        recipe = Recipe.read(path)
        sources = [
            stage
            for stage in recipe.of_kind("source", "written")
            if results.rows(stage.path, "question_id", question_id)
        ]
        if not sources:
            continue
        yield f"recipe {recipe.name} ({path.parent}):"
        for stage in sources:
            yield f"  from {_provenance(stage)}"
        for dataset in recipe.of_kind("dataset"):
            rows = pl.scan_parquet(dataset.path, glob=False).with_row_index("place")
            found = rows.filter(pl.col("question_id") == question_id).select("place", "sample").sort("place").collect()
            if found.is_empty():
                yield f"  not in {path.parent / 'dataset/dataset.parquet'}"
            else:
                places = ", ".join(f"{place} (sample {sample})" for place, sample in found.iter_rows())
                yield f"  rows of {path.parent / 'dataset/dataset.parquet'}: {places}"


def _provenance(stage: Stage) -> str:
    """Dataset, file or site of a source, and the commit or checksum that it is pinned to."""
    entry, pin = stage.settings.get("entry", {}), stage.settings.get("pin")
    keys = ("dataset", "site", "path", "connector")
    place = next((str(entry[key]) for key in keys if key in entry), stage.identity)
    pinned = pin.get("revision") if isinstance(pin, Mapping) else None
    return f"{stage.settings.get('name', stage.identity)}: {place}" + (f" at {pinned}" if pinned else "")


def _of_stage(results: Results, stage: str, table: str, rows: list[Row], text: str, look: Look) -> Iterator[str]:
    if table == "questions":
        yield f"{stage}: kept" + (f" ({len(rows)} rows)" if len(rows) > 1 else "")
    elif table == "labels":
        for row in rows:
            place = results.place(stage, row["value"])
            yield f"{stage}: label {row['value']}{place}" + (f", {row['rationale']}" if row["rationale"] else "")
    else:
        yield from _dropped(results, stage, rows, text, look)


def _dropped(results: Results, stage: str, rows: list[Row], text: str, look: Look) -> Iterator[str]:
    """What a dropped table says: the evidence once, however many rows of the source it is for."""
    places = sorted({f"{row['source']}:{row['source_row']}" for row in rows})
    yield f"{stage}: DROPPED ({', '.join(places[:5])}{', ...' if len(places) > 5 else ''})"
    beside_evidence = {"question_id", "source", "source_row", "stage"}
    evidence = [{key: value for key, value in row.items() if key not in beside_evidence} for row in rows]
    distinct = [row for place, row in enumerate(evidence) if row not in evidence[:place]]
    distinct.sort(key=lambda row: (row["reason"], -(row.get("score") or 0)))
    shown = distinct[: look.matches or None]
    for row in shown:
        yield from _evidence(results, row, text, look)
    if len(shown) < len(distinct):
        yield f"  and {len(distinct) - len(shown)} more (--matches 0 shows all)"


def _evidence(results: Results, row: Row, text: str, look: Look) -> Iterator[str]:
    if row.get("benchmark_question_id"):
        other_id, other_name = row["benchmark_question_id"], f"{row['benchmark']} {row['benchmark_question_id']}"
        other = results.text(other_id, benchmark=True)
    elif row.get("kept_question_id"):
        other_id, other_name = row["kept_question_id"], f"{row['kept_question_id']}, which was kept"
        other = results.text(other_id)
    else:
        details = ", ".join(f"{key} {value}" for key, value in row.items() if key != "reason" and value is not None)
        yield f"  {row['reason']}" + (f" ({details})" if details else "")
        return
    yield f"  {_verdict(row)} {other_name}"
    if other is None:
        yield "  (its text is no longer among the results)"
        return
    shared = row.get("shared_text")
    marks = (occurrences(text, shared), occurrences(other, shared)) if shared else common_parts(text, other)
    yield from (f"    {line}" for line in side_by_side(text, other, marks, look.width - 4, look.colour))
    yield ""


def _verdict(row: Row) -> str:
    if row["reason"] == "ngram":
        return f"shares {row['score']:.0f} tokens in a row with"
    if row["reason"] == "exact":
        return "is the same text as"
    return f"is {row['score']:.2f} % similar to"


def _place_in_flow(folder: str) -> tuple[int, str]:
    return (FLOW.index(folder), folder) if folder in FLOW else (len(FLOW), folder)
