"""Sections of a recipe's page: its questions, and what was dropped of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from openthoughts.base.tables import LABELLED, LABELS, read_table, scan_table
from openthoughts.models.tokenizers import count_tokens, load_tokenizer
from openthoughts.plan.register import LEVELS
from openthoughts.questions.sensitivity import ANY, BUCKETS, SENSITIVITY
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.page import pairs
from openthoughts.report.page.figures import (
    before_and_after,
    counted_bars,
    curve,
    shares_by_length,
)
from openthoughts.report.page.page import Browser, Figure, Section, Table
from openthoughts.report.page.rows import SAMPLE, sampled, source_of
from openthoughts.report.plot_data import decontaminated

PAIRS = 80


def questions_section(recipe: Recipe) -> Section | None:
    """Labels and lengths, before and after."""
    section = Section("questions", "Labels and lengths of the questions")
    section.text = [
        "Labels of all questions of a source (light) and of those selected (dark). Lengths in tokens after each stage, "
        f"of a sample of {SAMPLE:,} questions (those of smallest id) where there are more.",
    ]
    for selected in recipe.of_kind("selected"):
        for labels in recipe.inputs(selected, "labels"):
            before = read_table(labels.path, LABELS)["value"].drop_nulls()
            kept = read_table(selected.path, LABELLED).unique("question_id")["label"].drop_nulls()
            method = str(labels.settings["method"]).replace("_", " ")
            source = labels.identity.rpartition("-")[0]
            if len(before):
                section.figures.append(Figure.of(f"{source}: {method}", before_and_after(before, kept, method)))
    for domain, stages in recipe.domains().items():
        section.figures.append(Figure.of(f"{domain}: length", _lengths(recipe, stages)))
    return section if section.figures else None


def _lengths(recipe: Recipe, stages: Sequence[Stage]) -> Any:
    (limited,) = [stage for stage in stages if stage.kind == "limited"]
    name = limited.settings["tokenizer"] or str(recipe.inputs(limited, "model")[0].path)
    tokenizer = load_tokenizer(name)
    lengths = []
    for kind, label in LEVELS.items():
        texts = [text for stage in stages if stage.kind == kind for text in sampled(stage, "question")["question"]]
        if texts:
            counted = count_tokens(tokenizer, [text or "" for text in texts])
            lengths.append((label, pl.Series("tokens", counted, dtype=pl.Int64)))
    return shares_by_length(lengths, "tokens of a question")


def decontamination_section(recipe: Recipe) -> Section | None:
    """What decontamination removed, by benchmark, method and length, with pairs."""
    cleaned = [stage for stage in recipe.of_kind("clean") if stage.inputs.get("benchmarks")]
    if not cleaned:
        return None
    section = Section("decontamination", "Decontamination")
    dropped = [(source_of(stage), stage.folder / "dropped.parquet") for stage in cleaned]
    counts = decontaminated(dropped)
    rules = {json.dumps(dict(stage.settings), sort_keys=True): stage.settings for stage in cleaned}
    section.text = [
        f"A question is dropped at {rule['similarity']:g} % similarity to a benchmark question, or where it shares "
        f"{rule['ngram']} tokens in a row with one."
        for rule in rules.values()
    ]
    if counts.is_empty():
        section.text.append("Nothing was dropped.")
    else:
        bars = counts.group_by("benchmark", "method").agg(pl.col("count").sum()).sort("benchmark", "method")
        section.figures.append(
            Figure.of("Dropped questions by benchmark and method", counted_bars(bars, "benchmark", "rows", "method"))
        )
        section.figures.append(Figure.of("Dropped questions by length", _dropped_lengths(recipe, cleaned)))
        section.tables.append(Table(counts.columns, counts.rows(), "Rows dropped (a row counts for each match)"))
    section.figures += _sensitivity(cleaned)
    found = pairs.leaks(recipe, PAIRS)
    if found:
        note = f"{len(found)} of the dropped questions beside what they match; what they have in common is marked."
        section.browser = Browser("leaks", "pair", found, note)
    return section


def _dropped_lengths(recipe: Recipe, cleaned: Sequence[Stage]) -> Any:
    """Bars of the dropped questions by their length in characters."""
    counts = Counter({name: 0 for name, _ in BUCKETS})
    for stage in cleaned:
        dropped = (
            scan_table(stage.folder / "dropped.parquet", {"question_id": pl.String}).select("question_id").unique()
        )
        for given in recipe.inputs(stage, "questions"):
            texts = pl.scan_parquet(given.path, glob=False).select("question_id", "question")
            lengths = texts.join(dropped, on="question_id", how="semi").unique("question_id")
            for length in lengths.select(pl.col("question").str.len_chars()).collect().to_series().drop_nulls():
                counts[[name for name, least in BUCKETS if length >= least][-1]] += 1
    table = pl.DataFrame({"characters": list(counts), "count": list(counts.values())})
    return counted_bars(table, "characters", "different questions")


def _sensitivity(cleaned: Sequence[Stage]) -> list[Figure]:
    """What other thresholds would drop, where it was measured."""
    figures = []
    for stage in cleaned:
        path = stage.folder / "sensitivity.parquet"
        if not path.is_file():
            continue
        table = read_table(path, SENSITIVITY).filter((pl.col("benchmark") == ANY) & (pl.col("length") == "any"))
        names = {"similarity": "similarity", "dropped": "similarity or n-gram"}
        points = table.select("threshold", *names).rename(names).unpivot(index="threshold", value_name="questions")
        drawn = curve(points, "threshold", "questions", "similarity threshold (%)", "variable")
        figures.append(Figure.of(f"{source_of(stage)}: questions that other thresholds would drop", drawn))
    return figures


def duplicates_section(recipe: Recipe) -> Section | None:
    """What deduplication removed."""
    stages = [stage for stage in recipe.of_kind("deduplicated") if stage.settings["level"] != "none"]
    if not stages:
        return None
    section = Section("duplicates", "Duplicates")
    rows = []
    for stage in stages:
        dropped = scan_table(stage.folder / "dropped.parquet", {"kept_question_id": pl.String}).collect()
        for reason, count, kept in (
            dropped.group_by("reason")
            .agg(pl.len(), pl.col("kept_question_id").n_unique().alias("kept"))
            .sort("reason")
            .iter_rows()
        ):
            rows.append((stage.domain, stage.settings["level"], reason, count, kept))
    section.text = ["" if rows else "No question was dropped as a duplicate."]
    if rows:
        columns = ("domain", "level", "reason", "rows dropped", "questions that stand for them")
        section.tables.append(Table(columns, rows))
    found = pairs.duplicates(recipe, PAIRS)
    if found:
        section.browser = Browser("duplicates", "pair", found, "Similar questions beside those that were kept.")
    return section
