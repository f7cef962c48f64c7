"""The plots of a recipe: which tables of its plan each shows, and the numbers and the chart it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.tables import read_table
from openthoughts.plan.register import LABELS, LEVELS
from openthoughts.plan.stages import Plan, RecipePlan
from openthoughts.report import plot_data, plots

Named = Sequence[tuple[str, Path]]
"""A label and a table, in the order that they are shown; tables of one label are taken together."""

Drawn = tuple[pl.DataFrame, Any]
"""The numbers of a plot, and its chart."""

BINS = 40


def funnel(tables: Named) -> Drawn:
    """How many rows and different questions each stage leaves, by domain."""
    counts = plot_data.funnel(tables)
    levels = list(dict.fromkeys(label for label, _ in tables))
    return counts, plots.counts_bars(counts, levels, counts["domain"].unique().sort().to_list())


def labels(tables: Named) -> Drawn:
    """The labels of questions, a panel for each source."""
    return _histogram(tables, "value", "label")


def lengths(tables: Named) -> Drawn:
    """The lengths of answers in tokens, a panel for each domain."""
    return _histogram(tables, "completion_tokens", "tokens of an answer")


def decontamination(tables: Named) -> Drawn:
    """How many questions decontamination dropped, by benchmark and method."""
    counts = plot_data.decontaminated(tables)
    if counts.is_empty():
        return counts, plots.message("decontamination dropped nothing")
    bars = counts.group_by("benchmark", "method").agg(pl.col("count").sum()).sort("benchmark", "method")
    title = "questions dropped (a question counts for each method that finds it)"
    return counts, plots.stacked_bars(bars, "benchmark", "method", title)


def training(tables: Named) -> Drawn:
    """The training loss and learning rate over the optimiser's steps, a line for each student."""
    measures = {"loss": "loss", "learning_rate": "learning rate"}
    schema = {"step": pl.Int64, **dict.fromkeys(measures, pl.Float64)}
    runs = [read_table(path, schema).select(pl.lit(name).alias("student"), *schema) for name, path in tables]
    metrics = pl.concat(runs)
    points = metrics.rename(measures).unpivot(index=["student", "step"], variable_name="measure", value_name="value")
    return metrics, plots.lines(points, list(measures.values()), "student")


def scores(tables: Named) -> Drawn:
    """The scores of several models with their standard errors, the average first."""
    counts = plot_data.model_scores(tables)
    return counts, plots.error_bars(counts.filter(pl.col("score").is_not_null()), "model", "benchmark")


def resources(tables: Named) -> Drawn:
    """The time and memory that each rule took, from Snakemake's benchmark files."""
    usage = plot_data.usage(tables)
    measures = {"seconds": "wall time of all jobs (s)", "memory_mb": "largest memory of a job (MB)"}
    return usage, plots.side_by_side(usage, "rule", measures)


def _histogram(tables: Named, column: str, axis: str) -> Drawn:
    counts = plot_data.binned([(label, path, column) for label, path in tables], BINS)
    if counts.is_empty():
        return counts, plots.message("no numbers")
    return counts, plots.histograms(counts, list(dict.fromkeys(label for label, _ in tables)), axis)


DRAW: Mapping[str, Callable[[Named], Drawn]] = {
    "funnel": funnel, "difficulty": labels, "lengths": lengths, "decontamination": decontamination,
    "training": training, "scores": scores, "resources": resources,
}  # fmt: skip
"""Name of a plot -> what draws it."""


def tables_of(plot: str, plan: Plan, recipe: RecipePlan) -> list[tuple[str, Path]]:
    """The tables that a plot shows of a recipe, each with its label."""
    if plot == "resources":
        return plot_data.usage_files(Path(plan.results) / "usage")
    return [(label, Path(path)) for label, path in _tables(plot, plan, recipe)]


def _tables(plot: str, plan: Plan, recipe: RecipePlan) -> list[tuple[str, str]]:
    stages = recipe.stages()
    if plot == "funnel":
        own = recipe.questions()
        levels = [(label, plan.path(stage)) for kind, label in LEVELS.items() for stage in own if stage.kind == kind]
        return [*levels, (LABELS["dataset"], plan.path(recipe.dataset))]
    if plot == "difficulty":
        return [
            (
                f"{stage.input('questions').input('questions').settings['name']}: {stage.settings['method']}",
                plan.path(stage),
            )
            for stage in stages
            if stage.kind == "labels"
        ]
    if plot == "lengths":
        return [(domain, plan.path(of["answers"])) for domain, of in recipe.domains.items()]
    if plot == "decontamination":
        return [
            (stage.input("questions").settings["name"], plan.path(stage, "dropped.parquet"))
            for stage in stages
            if stage.kind == "clean"
        ]
    if plot == "training":
        return [("student", plan.path(stage, "metrics.parquet")) for stage in stages if stage.kind == "student"]
    return [(name, plan.path(stage)) for name, stage in recipe.evaluations.items()]
