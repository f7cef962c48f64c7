"""Sections of a recipe's page: its answers, its student and what that scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from openthoughts.answers.language import language
from openthoughts.base.places import WORKFLOW
from openthoughts.base.tables import COMPLETIONS, MEASURES, read_table, scan_table
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.page.figures import (
    answer_lengths,
    counted_bars,
    curve,
    shares,
)
from openthoughts.report.page.page import Figure, Fold, Section, Table
from openthoughts.report.page.rows import name_of, sampled
from openthoughts.report.plot_data import model_scores
from openthoughts.report.plots import error_bars
from openthoughts.training.tokenize import REASONS

PUBLISHED = WORKFLOW / "report" / "published_scores.yaml"

LANGUAGE_SAMPLE = 300

SHOWN_CHARACTERS = 2000
"""Characters at the beginning and at the end of a long text that a page shows."""


def answers_section(recipe: Recipe) -> Section:
    """Lengths, truncation, agreement and languages of the answers."""
    section = Section("answers", "Answers")
    rows = []
    for answers in recipe.answers():
        columns = {"finish_reason": pl.String, "completion_tokens": pl.Int64, "error": pl.String}
        table = scan_table(answers.path, {**COMPLETIONS}).select(*columns).collect()
        given = table.filter(pl.col("error").is_null())
        cut = given["finish_reason"] == "length"
        tokens = given["completion_tokens"].drop_nulls()
        quantiles = [None if tokens.is_empty() else tokens.quantile(share) for share in (0.05, 0.5, 0.95)]
        model = ", ".join(name_of(model) for model in recipe.inputs(answers, "model"))
        share = 100 * cut.sum() / max(1, given.height)
        rows.append((answers.domain, model, table.height, table.height - given.height, share, *quantiles))
        if len(tokens):
            lengths = pl.DataFrame({"tokens": given["completion_tokens"], "cut": cut}).drop_nulls()
            section.figures.append(Figure.of(f"{answers.domain}: length", answer_lengths(lengths)))
        agreed = agreement(recipe, answers)
        if len(agreed):
            drawn = shares(agreed, "share of the answers that agree")
            section.figures.append(Figure.of(f"{answers.domain}: agreement", drawn))
        spoken = languages(answers)
        if not spoken.is_empty():
            section.figures.append(
                Figure.of(f"{answers.domain}: languages", counted_bars(spoken, "language", "answers"))
            )
    section.text = [
        "Lengths in tokens, reasoning included. Agreement is the share of the answers to a question whose final answer "
        f"is the most frequent one; languages are told from the prose of {LANGUAGE_SAMPLE} answers, code and formulas "
        "apart."
    ]
    headings = ("domain", "model", "answers", "failed", "cut (%)", "5 % shorter than", "median", "5 % longer than")
    section.tables.append(Table(headings, rows))
    return section


def agreement(recipe: Recipe, answers: Stage) -> pl.Series:
    """Share of the answers to a question that agree with the majority, of every question where several did."""
    shares_ = [pl.Series("agreement", [], dtype=pl.Float64)]
    for measured in recipe.of_kind("measured"):
        if answers in recipe.inputs(measured, "answers"):
            table = scan_table(measured.path, MEASURES).select("question_id", "agreement").drop_nulls()
            shares_.append(table.unique("question_id").collect()["agreement"])
    return pl.concat(shares_)


def languages(answers: Stage) -> pl.DataFrame:
    """``language`` and ``count`` of some answers, the most frequent first."""
    texts = sampled(answers, "text", most=LANGUAGE_SAMPLE)["text"].drop_nulls()
    found = Counter(language(text) or "too little prose" for text in texts)
    table = found.most_common(8)
    return pl.DataFrame(table, schema={"language": pl.String, "count": pl.Int64}, orient="row")


def training_section(recipe: Recipe) -> Section | None:
    """Loss and learning rate of the student."""
    students = recipe.of_kind("student")
    if not students:
        return None
    section = Section("training", "Training")
    for student in students:
        schema = {"step": pl.Int64, "loss": pl.Float64, "learning_rate": pl.Float64}
        metrics = read_table(student.folder / "metrics.parquet", schema)
        for measure in ("loss", "learning_rate"):
            drawn = curve(metrics.select("step", measure), "step", measure, "optimiser step")
            section.figures.append(Figure.of(measure.replace("_", " "), drawn))
        for tokenized in recipe.inputs(student, "tokenized"):
            statistics = json.loads(tokenized.path.read_text(encoding="utf-8"))
            section.tables.append(Table(("training data", ""), training_data(statistics)))
            section.folds += [trained_row(row) for row in statistics.get("sample", ())]
        section.folds.append(Fold("Settings", json.dumps(dict(student.settings), indent=2)))
    return section


def training_data(statistics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The rows of the table that says what is trained on, and what is not."""
    names = ("rows", "tokens", "trained_tokens", "packed_rows", "cutoff", "cut_share")
    rows = [(name, statistics[name]) for name in names if name in statistics]
    dropped = [
        (f"dropped: {REASONS[reason]}", count) for reason, count in sorted(statistics.get("dropped", {}).items())
    ]
    if statistics.get("special_rows"):
        dropped.append(("rows with the text of a special token", statistics["special_rows"]))
    return rows + dropped


def trained_row(row: Mapping[str, Any]) -> Fold:
    """A row as the trainer sees it, what it is trained on marked."""
    trained = sum(part["tokens"] for part in row["parts"] if part["trained"])
    title = f"Row {row['row']} as it is trained on: {row['tokens']:,} tokens, {trained:,} of them (marked) learnt"
    return Fold(title, parts=[(shortened(part["text"]), part["trained"]) for part in row["parts"]])


def shortened(text: str) -> str:
    """A text of a page; of a long one the beginning and the end."""
    left_out = len(text) - 2 * SHOWN_CHARACTERS
    if left_out <= 0:
        return text
    return f"{text[:SHOWN_CHARACTERS]}\n[… {left_out:,} characters …]\n{text[-SHOWN_CHARACTERS:]}"


def scores_section(recipe: Recipe) -> Section | None:
    """Scores with errors, and the paper's."""
    evaluations = recipe.of_kind("evaluation")
    if not evaluations:
        return None
    section = Section("scores", "Scores")
    section.text = [
        "From 0 to 100: the mean over questions of the mean over samples; the whiskers are one standard error over "
        "questions. The paper's are those printed for its 7B student, without errors; another student, other questions "
        "of a benchmark or other sampling settings do not compare with them.",
    ]
    named = [(_evaluated(recipe, stage), stage.path) for stage in evaluations]
    scores = model_scores(sorted(named, reverse=True))
    table = pl.concat([scores, published(scores)], how="diagonal_relaxed")
    for benchmark in table["benchmark"].unique(maintain_order=True):
        one = table.filter(pl.col("benchmark") == benchmark)
        section.figures.append(Figure.of(benchmark, error_bars(one, "model", "benchmark", 150)))
    section.tables.append(Table(table.columns, table.rows()))
    return section


def _evaluated(recipe: Recipe, stage: Stage) -> str:
    (model,) = recipe.inputs(stage, "model")
    return "student" if model.kind == "student" else "base"


def published(scores: pl.DataFrame) -> pl.DataFrame:
    """The paper's scores on the same benchmarks, in the columns of ``scores``."""
    scores_by_model = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    rows = [
        {"model": model, "benchmark": benchmark, "score": score}
        for model, by_benchmark in scores_by_model.items()
        for benchmark, score in by_benchmark.items()
        if benchmark in scores["benchmark"].to_list()
    ]
    schema = {name: scores.schema[name] for name in ("model", "benchmark", "score")}
    return pl.DataFrame(rows, schema=schema)


def experiments_section(experiments: Sequence[tuple[str, Path, Path]]) -> Section | None:
    """The arms of the experiments that vary this recipe."""
    if not experiments:
        return None
    section = Section("experiments", "Experiments")
    columns = {"arm": pl.String, "benchmark": pl.String, "score": pl.Float64, "standard_error": pl.Float64}
    for name, scores, summary in experiments:
        table = read_table(scores, columns)
        section.text += [f"{name}: {line}" for line in _plain(summary.read_text(encoding="utf-8"))]
        for benchmark in table["benchmark"].unique(maintain_order=True).head(6):
            one = table.filter(pl.col("benchmark") == benchmark)
            section.figures.append(Figure.of(f"{name}: {benchmark}", error_bars(one, "arm", "benchmark", 150)))
        section.tables.append(Table(table.columns, table.rows(), name))
    return section


def _plain(markdown: str) -> list[str]:
    """The paragraphs of a summary without its headings and emphasis."""
    blocks = [block.strip() for block in markdown.split("\n\n")]
    return [
        block.replace("**", "").replace("\n", " ") for block in blocks if block and not block.startswith(("#", "|"))
    ]
