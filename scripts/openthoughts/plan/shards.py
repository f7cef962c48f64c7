"""The shards of the stages that ask a model: what each asks, and where it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openthoughts.plan.register import KINDS, Inference, inference
from openthoughts.plan.stages import Plan, Stage

SCORES = "scores"
"""Where the shards of a stage that asks no model lie, below its folder."""


@dataclass(frozen=True)
class Shard:
    """One job of a stage that asks a model. Paths are relative to the working folder."""

    stage: Stage
    program: str
    arguments: tuple[str, ...]
    """The program's arguments that decide what is asked, and its output's."""
    inputs: tuple[str, ...]
    output: str
    merged: str | None = None
    """The table of all shards of the stage, where they are merged as they are."""


def shard_path(plan: Plan, stage: Stage, shard: int) -> str:
    """Where a shard is written."""
    asks = inference(stage)
    folder = SCORES if asks is None else asks.folder
    shards = stage.execution["shards"]
    width = len(str(shards - 1))
    return plan.path(stage, f"{folder}/{shard:0{width}}-of-{shards}.parquet")


def asked_shards(plan: Plan) -> Iterator[Shard]:
    """Every shard that a plan asks a model for, in the order the data flows."""
    for kind in KINDS:
        for (stage_kind, _), stage in plan.index.items():
            asks = inference(stage) if stage_kind == kind else None
            if asks is not None:
                yield from _shards(plan, stage, asks)


def _shards(plan: Plan, stage: Stage, asks: Inference) -> Iterator[Shard]:
    """The jobs in which a stage asks a model."""
    arguments = [each for name in asks.settings for each in _setting(name, stage.settings[name])]
    inputs: list[str] = []
    for each in asks.inputs:
        paths = [plan.path(other, each.file) for other in stage.inputs[each.role]]
        arguments += [f"--{each.flag}", *paths] if each.flag else _tasks(stage, paths)
        inputs += paths
    if prompt := stage.execution.get("prompt"):
        arguments += ["--prompt", prompt]
    if asks.folder is None:
        output = plan.path(stage, asks.file)
        yield Shard(stage, asks.program, (*arguments, "--output", output), tuple(inputs), output)
        return
    merged = plan.path(stage) if KINDS[stage.kind].file == asks.file else None
    shards = stage.execution["shards"]
    for shard in range(shards):
        output = shard_path(plan, stage, shard)
        own = ["--shard", str(shard), "--shards", str(shards), "--output", output]
        yield Shard(stage, asks.program, (*arguments, *own), tuple(inputs), output, merged)


def _tasks(stage: Stage, paths: list[str]) -> list[str]:
    """The benchmarks of an evaluation, each with its questions, its prompt and its answers per question."""
    arguments = []
    for task, path, prompt in zip(stage.settings["tasks"], paths, stage.execution["prompts"], strict=True):
        arguments += ["--benchmark", task["benchmark"], path, prompt or "-", str(task["samples"])]
    return arguments


def _setting(name: str, value: Any) -> tuple[str, str]:
    """A setting as an argument: mappings as JSON, a number of rows without a bound as ``all``."""
    if isinstance(value, dict):
        return f"--{name}", json.dumps(value, sort_keys=True)
    return f"--{name}", "all" if value is None else str(value)
