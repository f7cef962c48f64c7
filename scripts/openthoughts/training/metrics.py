"""The metrics of a run, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.tables import Schema

METRICS: Schema = {
    "step": pl.Int64,
    "epoch": pl.Float64,
    "loss": pl.Float64,
    "learning_rate": pl.Float64,
    "grad_norm": pl.Float64,
    "tokens_per_second": pl.Float64,  # over all processes, padding included
    "mfu": pl.Float64,  # share of the GPUs' peak operations; null without a GPU
}
"""One row per optimiser step."""


def read_metrics(run: Path) -> pl.DataFrame:
    """The metrics of a run: of a step that was done again after a restart, the last time counts."""
    lines: dict[int, dict[str, Any]] = {}
    for line in (run / "steps.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
            lines[int(values["step"])] = values
        except (ValueError, KeyError):  # a line that a killed process did not finish
            continue
    return pl.DataFrame([lines[step] for step in sorted(lines)], schema=dict(METRICS))


def summary_of(metrics: pl.DataFrame) -> dict[str, Any]:
    """Steps, epochs, first and last loss, and the median speed of a training."""
    return {
        "steps": metrics.height,
        "epochs": metrics["epoch"].max(),
        "first_loss": metrics["loss"].first(),
        "last_loss": metrics["loss"].last(),
        "tokens_per_second": metrics["tokens_per_second"].median(),
        "mfu": metrics["mfu"].median(),
    }
