"""The numbers behind the plots of a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.tables import DROPPED, SCORES, Schema, read_table, scan_table
from openthoughts.experiments.errors import Estimate, average
from openthoughts.report.plots import histogram

FUNNEL: Schema = {"stage": pl.String, "domain": pl.String, "rows": pl.Int64, "questions": pl.Int64}


def funnel(stages: Sequence[tuple[str, Path]]) -> pl.DataFrame:
    """FUNNEL: rows and different questions of each stage and domain, in the order of the stages.

    ``stages``: label and a table with ``question_id`` and ``domain``; the tables of one label are taken together.
    """
    tables: dict[str, list[pl.LazyFrame]] = {}
    for label, path in stages:
        keys = scan_table(path, {"question_id": pl.String, "domain": pl.String}).select("question_id", "domain")
        tables.setdefault(label, []).append(keys)
    counted = [
        pl.concat(parts)
        .group_by("domain")
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("question_id").n_unique().cast(pl.Int64).alias("questions"))
        .with_columns(stage=pl.lit(label))
        .select(*FUNNEL)
        .sort("domain")
        .collect()
        for label, parts in tables.items()
    ]
    return pl.concat(counted)


def binned(series: Sequence[tuple[str, Path, str]], bins: int) -> pl.DataFrame:
    """``series``, ``low``, ``high``, ``count``: a histogram for each label, in the order of their first mention.

    ``series``: label, table and its column of numbers; the columns of one label are taken together.
    """
    values: dict[str, list[pl.Series]] = {}
    for label, path, column in series:
        table = scan_table(path, {column: pl.Float64}).select(pl.col(column).cast(pl.Float64)).collect()
        values.setdefault(label, []).append(table.to_series().rename("value"))
    tables = [
        histogram(pl.concat(parts), bins).select(pl.lit(label).alias("series"), "low", "high", "count")
        for label, parts in values.items()
    ]
    return pl.concat(tables)


def decontaminated(dropped: Sequence[tuple[str, Path]]) -> pl.DataFrame:
    """``source``, ``benchmark``, ``method``, ``count``: the questions that each benchmark and method dropped.

    A question that matches several benchmarks, or by several methods, counts for each.
    """
    schema = {**DROPPED, "benchmark": pl.String, "method": pl.String}
    counted = [
        scan_table(path, schema)
        .group_by("benchmark", "method")
        .agg(pl.struct("source", "source_row").n_unique().cast(pl.Int64).alias("count"))
        .select(pl.lit(source).alias("source"), "benchmark", "method", "count")
        .sort("benchmark", "method")
        .collect()
        for source, path in dropped
    ]
    return pl.concat(counted)


def model_scores(scores: Sequence[tuple[str, Path]]) -> pl.DataFrame:
    """``model`` and the columns of SCORES, for each model its average (where there are several benchmarks) first."""
    tables = []
    for model, path in scores:
        table = read_table(path, SCORES).sort("benchmark")
        estimates = [
            Estimate(score, error)
            for score, error in table.select("score", "standard_error").iter_rows()
            if score is not None
        ]
        if len(estimates) == table.height > 1:
            mean = average(estimates)
            whole = {name: table[name].sum() for name in ("questions", "unparseable", "unknown", "failed")}
            samples = table["samples"].unique()
            row = {"benchmark": "average", **whole, "samples": samples.item() if len(samples) == 1 else None}
            row |= {"score": mean.mean, "standard_error": mean.standard_error}
            table = pl.concat([pl.DataFrame([row], schema=dict(SCORES)).select(table.columns), table])
        tables.append(table.select(pl.lit(model).alias("model"), *SCORES))
    return pl.concat(tables)


USAGE: Schema = {
    "rule": pl.String,
    "jobs": pl.Int64,
    "seconds": pl.Float64,  # wall time of all jobs
    "longest_seconds": pl.Float64,
    "processor_seconds": pl.Float64,
    "memory_mb": pl.Float64,  # largest resident memory of a job; null where it was too short to measure
}


def usage(files: Sequence[tuple[str, Path]]) -> pl.DataFrame:
    """USAGE: time and memory of each rule, the longest first, from Snakemake's benchmark files (``.jsonl``)."""
    rows = [(rule, *_measurement(line, path)) for rule, path in files for line in _lines(path)]
    schema = {"rule": pl.String, "seconds": pl.Float64, "processor_seconds": pl.Float64, "memory_mb": pl.Float64}
    measured = (
        pl.DataFrame(rows, schema=schema, orient="row")
        .group_by("rule")
        .agg(
            jobs=pl.len(),
            longest_seconds=pl.col("seconds").max(),
            seconds=pl.col("seconds").sum(),
            processor_seconds=pl.col("processor_seconds").sum(),
            memory_mb=pl.col("memory_mb").max(),
        )
    )
    return measured.select(pl.col(name).cast(dtype) for name, dtype in USAGE.items()).sort(
        ["seconds", "rule"], descending=[True, False]
    )


def usage_files(folder: Path) -> list[tuple[str, Path]]:
    """The benchmark files under ``folder``/RULE/, each with its rule; raises ``UserError`` where there are none."""
    files = [(path.relative_to(folder).parts[0], path) for path in sorted(folder.glob("*/**/*.jsonl"))]
    if not files:
        raise UserError(f"{folder} holds no benchmark file (RULE/*.jsonl): run the workflow first.")
    return files


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path} does not exist: run the rule that it measures.")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _measurement(line: str, path: Path) -> tuple[float, float | None, float | None]:
    """Wall seconds, processor seconds and largest resident memory in MB of one job."""
    try:
        record = json.loads(line)
        return float(record["s"]), _number(record.get("cpu_time")), _number(record.get("max_rss"))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a benchmark file of Snakemake (.jsonl): delete it and run again.") from error


def _number(value: object) -> float | None:
    """A measured number; Snakemake writes ``NA`` or ``-`` for a job too short to be measured."""
    return float(value) if isinstance(value, int | float) else None
