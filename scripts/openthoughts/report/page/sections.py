"""The sections of a recipe's page, each from what the stages left behind; one without data is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.places import located
from openthoughts.base.reasoning import split_reasoning
from openthoughts.base.tables import DATASET, scan_table
from openthoughts.costs.spending import Spent, spent
from openthoughts.plan.register import LABELS
from openthoughts.report.funnel import by_stage, repeats
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.page.answer_sections import (
    answers_section,
    experiments_section,
    scores_section,
    training_section,
)
from openthoughts.report.page.figures import counted_bars
from openthoughts.report.page.page import Browser, Figure, Fold, Section, Table
from openthoughts.report.page.question_sections import decontamination_section, duplicates_section, questions_section
from openthoughts.report.page.rows import name_of
from openthoughts.report.page.sankey import sankey
from openthoughts.report.plot_data import usage, usage_files

ROWS = 300
"""Rows of the dataset that the page holds."""

MOST_CHARACTERS = 12_000
"""Characters of a reasoning that the page holds."""


@dataclass(frozen=True)
class Sources:
    """What a page is made from; an experiment is its name, its scores and its summary.

    ``planned`` are ``openthoughts.costs.estimates.estimates_of_kinds``.
    """

    recipe: Recipe
    usage: Path
    experiments: Sequence[tuple[str, Path, Path]] = ()
    planned: Sequence[Mapping[str, Any]] = ()


def sections(sources: Sources) -> list[Section]:
    """Every section that there is data for, in the order of the flow."""
    made = [
        funnel_section(sources.recipe),
        questions_section(sources.recipe),
        decontamination_section(sources.recipe),
        duplicates_section(sources.recipe),
        answers_section(sources.recipe),
        training_section(sources.recipe),
        scores_section(sources.recipe),
        experiments_section(sources.experiments),
        spending_section(sources),
        resources_section(sources.usage),
        lock_section(sources.recipe),
        rows_section(sources.recipe),
    ]
    return [section for section in made if section]


def facts(recipe: Recipe) -> list[tuple[str, str]]:
    """What stands at the head of the page."""
    (dataset,) = recipe.of_kind("dataset")
    shown = [("rows", f"{dataset.rows or 0:,}")]
    if recipe.counts:
        shown.append(("tokens of answers", f"{recipe.counts['tokens']:,}"))
        shown.append(("domains", ", ".join(recipe.counts["domains"])))
    teachers = [model for answers in recipe.answers() for model in recipe.inputs(answers, "model")]
    shown.append(("teacher", ", ".join(dict.fromkeys(name_of(model) for model in teachers))))
    for student in recipe.of_kind("student"):
        shown.append(("student", ", ".join(name_of(base) for base in recipe.inputs(student, "model"))))
    return shown


def funnel_section(recipe: Recipe) -> Section:
    """How many questions each stage leaves."""
    section = Section("funnel", "From sources to questions")
    section.text = [
        "What each stage keeps (left) and drops (right), drawn to scale. At every stage what is kept and what is "
        "dropped add up to what it was given; the manifest is not written otherwise.",
    ]
    section.figures.append(Figure("Questions", str(sankey(recipe.funnel)), inline=True))
    for domain in recipe.domains():
        rows = [
            (LABELS[row["stage"]] + repeats(row), row["rows"], row["questions"], _reasons(row["dropped"]))
            for row in by_stage(recipe.funnel, domain)
        ]
        rows += [
            (LABELS[row["stage"]], row["rows"], row["questions"], _reasons(row["dropped"]))
            for row in recipe.funnel
            if row["domain"] == domain and row["source"] is None
        ]
        section.tables.append(Table(("stage", "rows", "different questions", "dropped"), rows, domain))
    return section


def _reasons(dropped: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,} {reason}" for reason, count in dropped.items())


def spending_section(sources: Sources) -> Section | None:
    """Planned against spent, by stage."""
    if not sources.planned:
        return None
    section = Section("spending", "Planned and spent")
    section.text = [
        "The plan's estimate beside what the stages left behind: requests and tokens from their tables (what was taken "
        "from the store counts too), dollars at the catalog's live price, hours of wall time of all jobs one after the "
        "other, GPU-hours of the jobs that hold GPUs.",
    ]
    rows, whole = [], Spent()
    for planned in sources.planned:
        if planned["stage"] == "total":
            continue
        took = Spent()
        for stage in sources.recipe.of_kind(planned["stage"]):
            took += _spent(
                sources, stage, planned["gpus"].get(stage.identity, 0), planned["shards"].get(stage.identity)
            )
        whole += took
        rows.append(_planned_row(planned, took))
    rows += [_planned_row(planned, whole) for planned in sources.planned if planned["stage"] == "total"]
    columns = ["stage"]
    for measure in ("requests", "tokens in", "tokens out", "dollars", "GPU-hours"):
        columns += [f"{measure}, planned", "spent"]
    section.tables.append(Table([*columns, "hours of jobs"], rows))
    return section


def _spent(sources: Sources, stage: Stage, gpus: float, shards: int | None) -> Spent:
    price = None
    for model in sources.recipe.inputs(stage, "model"):
        price = model.about.get("price")
    return spent(stage.folder, sources.usage, price, gpus, shards)


def _planned_row(planned: Mapping[str, Any], took: Spent) -> tuple[Any, ...]:
    return (
        planned["stage"], planned["requests"], took.requests, planned["input_tokens"], took.input_tokens,
        planned["output_tokens"], took.output_tokens, float(planned["usd_live"]), took.usd, float(planned["gpu_hours"]),
        took.gpu_hours, took.hours,
    )  # fmt: skip


def resources_section(folder: Path) -> Section | None:
    """Time and memory by rule."""
    if not any(folder.glob("*/**/*.jsonl")):
        return None
    table = usage(usage_files(folder))
    section = Section("resources", "Time and memory")
    section.text = ["All jobs of each rule in this folder of results, as Snakemake measured them."]
    for column, title in (("seconds", "wall time of all jobs (s)"), ("memory_mb", "largest memory of a job (MB)")):
        bars = table.select("rule", count=pl.col(column)).drop_nulls()
        if not bars.is_empty():
            section.figures.append(Figure.of(title, counted_bars(bars, "rule", title)))
    section.tables.append(Table(table.columns, table.rows()))
    return section


def lock_section(recipe: Recipe) -> Section:
    """What the recipe is pinned to: datasets, models, versions, prompts, and every stage's settings."""
    section = Section("lock", "What it was made of")
    rows = []
    for stage in recipe.of_kind("source", "benchmark", "model"):
        entry, pin = stage.settings.get("entry", {}), stage.settings.get("pin")
        place = next(
            (entry[key] for key in ("dataset", "repository", "api_model", "package", "path") if key in entry), ""
        )
        pinned = pin.get("revision") if isinstance(pin, Mapping) else pin
        licence = stage.about.get("licence", "unknown")
        rows.append((stage.kind, name_of(stage), place, pinned or json.dumps(pin) if pin else "", licence))
    section.tables.append(Table(("kind", "name", "from", "commit or checksum", "licence"), rows))
    section.tables.append(Table(("program", "version"), list(recipe.versions.items())))
    prompts: dict[str, None] = {}
    for stage in recipe.stages.values():
        prompts |= dict.fromkeys(path for path in (stage.about.get("prompt"), *stage.about.get("prompts", ())) if path)
    for path in prompts:
        if located(path).is_file():
            section.folds.append(Fold(f"Prompt {Path(path).stem}", located(path).read_text(encoding="utf-8")))
    for stage in recipe.stages.values():
        record = {"settings": stage.settings, "inputs": stage.inputs}
        section.folds.append(Fold(f"{stage.kind} {stage.identity}", json.dumps(record, indent=2, ensure_ascii=False)))
    return section


def rows_section(recipe: Recipe) -> Section:
    """A few hundred rows of the dataset; its rows are shuffled, so its head is a sample of every domain."""
    (dataset,) = recipe.of_kind("dataset")
    table = scan_table(dataset.path, DATASET).head(ROWS).collect()
    rows = [_row(row) for row in table.iter_rows(named=True)]
    section = Section("rows", "Rows")
    note = f"The first {len(rows):,} of {dataset.rows or 0:,} rows. The search finds rows that have all of its words."
    section.browser = Browser("rows", "answer", rows, note)
    return section


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    question, text = (row["conversations"][turn]["value"] for turn in (0, 1))
    reasoning, answer = split_reasoning(text)
    answer = "(cut off before the reasoning ended)" if answer is None else answer
    title = [row["domain"], row["source"], row["question_id"], f"sample {row['sample']}"]
    if row["difficulty"] is not None:
        title.append(f"difficulty {row['difficulty']}")
    return {
        "group": row["domain"],
        "title": ", ".join(title),
        "question": _shortened(question),
        "reasoning": _shortened(reasoning),
        "answer": _shortened(answer.strip()),
    }


def _shortened(text: str) -> str:
    left_out = len(text) - MOST_CHARACTERS
    return text if left_out <= 0 else f"{text[:MOST_CHARACTERS]}\n[… {left_out:,} characters more]"
