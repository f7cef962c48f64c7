"""The plan's speeds beside public figures: writes RESULTS.md.

``serving.csv`` and ``training.csv`` hold figures as they were published, each with its address: throughputs of vLLM,
TensorRT-LLM, SGLang and NIM with the lengths of prompts and answers, and of trainings without adapters. None was
chosen by how well it fits; left out are those without lengths (such as OpenThinker-7B's training, whose card gives rows
and hours but no tokens), in four bits with two-level scales (NVFP4), or with experts spread over GPUs. The efficiencies
of ``openthoughts.models.performance`` are fitted to these figures; that of trainings with experts to three of them.
``architectures.yaml`` holds the models' ``config.json``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from openthoughts.models.architecture import Architecture
from openthoughts.models.performance import Gpu, Served, training_seconds
from openthoughts.plan.catalog import read_catalog

HERE = Path(__file__).resolve().parent
MOST_SEQUENCES = {"TensorRT-LLM": 2048}
"""Requests that an engine takes at once where nothing else was set; vLLM takes 1,024 on GPUs from H100 on."""

WITHIN = 1.5
FP8_TRAINING = 1.6
"""How much faster trainings in FP8 are taken to be than in bfloat16, whose peak is half as high; the plan has none."""


def main() -> None:
    """Write the tables."""
    (HERE / "RESULTS.md").write_text(results(), encoding="utf-8")


def results() -> str:
    """Every ratio, in tables."""
    serving, training = every_figure()
    text = [f"{__doc__.split(':')[0]}.\n", "## Serving: output tokens per second\n", *summary(serving, "engine")]
    text += ["\n### By GPU\n", *summary(serving, "gpu"), "\n### Every figure\n", *table(serving, SERVING)]
    text += ["\n## Training: tokens per second and GPU\n", *summary(training, "gpu"), "", *table(training, TRAINING)]
    return "\n".join(text) + "\n"


def every_figure() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The figures of serving, of which those are left out whose model does not fit by the plan, and of training."""
    architectures = {
        name: Architecture.from_config(config)
        for name, config in yaml.safe_load((HERE / "architectures.yaml").read_text(encoding="utf-8")).items()
    }
    gpus = {name: Gpu.model_validate(entry) for name, entry in read_catalog([]).gpus.items()}
    serving = [with_serving(row, architectures, gpus) for row in rows("serving.csv")]
    training = [with_training(row, architectures, gpus) for row in rows("training.csv")]
    return [row for row in serving if row["planned"] is not None], training


def rows(name: str) -> Iterator[dict[str, Any]]:
    """The rows of a table."""
    yield from pl.read_csv(HERE / name, infer_schema_length=None).to_dicts()


def with_serving(row: dict[str, Any], architectures: dict[str, Architecture], gpus: dict[str, Gpu]) -> dict[str, Any]:
    """A row with what the plan says, null where the plan says that the model does not fit."""
    model = Served(
        architectures[row["model"]],
        gpus[row["gpu"]],
        row["tensor_parallel"],
        quantization=row["quantization"] or None,
        kv_cache_dtype=row["kv_cache_dtype"],
    )
    engine = row["engine"].split()[0]
    most = 1024 if engine == "vLLM" and row["gpu"] in {"h100", "h100-nvl", "h200", "b200", "mi300x"} else 256
    limits = [row["concurrency"], row["requests"], MOST_SEQUENCES.get(engine, most)]
    replicas = row["gpus"] / row["tensor_parallel"]
    concurrency = min(limit for limit in limits if limit) / replicas
    planned = replicas * model.tokens_per_second(row["input_tokens"], row["output_tokens"], concurrency)
    return {**row, "planned": planned if model.cache_bytes > 0 else None, "reported": row["output_tokens_per_second"]}


def with_training(row: dict[str, Any], architectures: dict[str, Architecture], gpus: dict[str, Gpu]) -> dict[str, Any]:
    """A row with what the plan says."""
    seconds = training_seconds(architectures[row["model"]], gpus[row["gpu"]], row["length"])
    faster = FP8_TRAINING if row["dtype"] == "fp8" else 1.0
    return {**row, "planned": faster / seconds, "reported": row["tokens_per_second_per_gpu"]}


def ratio(row: dict[str, Any]) -> float:
    """Planned by reported."""
    return float(row["planned"] / row["reported"])


def summary(rows: list[dict[str, Any]], by: str) -> Iterator[str]:
    """How many figures lie within the factor, by a column and in all."""
    yield f"| {by} | figures | median ratio | within a factor of {WITHIN} | within 2 |"
    yield "|---|---:|---:|---:|---:|"
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row[by].split()[0], []).append(ratio(row))
    for name, ratios in (*sorted(groups.items()), ("all", [ratio(row) for row in rows])):
        near = " | ".join(share(ratios, factor) for factor in (WITHIN, 2))
        yield f"| {name} | {len(ratios)} | {statistics.median(ratios):.2f} | {near} |"


def share(ratios: Iterable[float], factor: float) -> str:
    """How many ratios lie within a factor, as a percentage."""
    near = [abs(math.log(each)) <= math.log(factor) for each in ratios]
    return f"{100 * sum(near) / len(near):.0f} %"


SERVING = ("model", "gpu", "gpus", "quantization", "engine", "concurrency", "input_tokens", "output_tokens")
TRAINING = ("model", "gpu", "gpus", "dtype", "length")


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Iterator[str]:
    """Every figure with its ratio and where it stands."""
    yield f"| {' | '.join(column.replace('_', ' ') for column in columns)} | reported | planned | ratio | source |"
    yield f"|{'---|' * (len(columns) + 4)}"
    numbers: dict[str, int] = {}
    for row in rows:
        cells = " | ".join("" if row[column] is None else str(row[column]) for column in columns)
        number = numbers.setdefault(row["source"], len(numbers) + 1)
        yield f"| {cells} | {row['reported']:,.0f} | {row['planned']:,.0f} | {ratio(row):.2f} | {number} |"
    yield ""
    yield from (f"{number}. <{source}>" for source, number in numbers.items())


if __name__ == "__main__":
    main()
