"""The shards of the stages that ask a model: what each asks, and where it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openthoughts.plan.stages import Plan, Stage

PROGRAMS = {
    "written": "write_questions",
    "labels": "label_questions",
    "answers": "sample_answers",
    "assessed": "verify_answers",
    "evaluation": "sample_evaluation",
    "judged": "judge_answers",
}
"""The kinds of stages that ask a model, and the program that asks."""

SHARD_FOLDERS = {"answers": "shards"}
"""Where the shards of a stage lie, below its folder, if not in ``completions``; an evaluation is one job."""


def shard_folder(stage: Stage) -> str:
    """Where the shards of a stage lie, below its folder."""
    if "model" not in stage.inputs:
        return "scores"
    if stage.settings.get("method") == "embeddings":
        return "similarities"
    return SHARD_FOLDERS.get(stage.kind, "completions")


@dataclass(frozen=True)
class Shard:
    """One job of a stage that asks a model. Paths are relative to the working folder."""

    stage: Stage
    program: str
    arguments: tuple[str, ...]
    """The program's arguments that decide what is asked, and its output's."""
    inputs: tuple[str, ...]
    output: str


def shard_path(plan: Plan, stage: Stage, shard: int) -> str:
    """Where a shard's completions are written."""
    shards = stage.execution["shards"]
    width = len(str(shards - 1))
    return plan.path(stage, f"{shard_folder(stage)}/{shard:0{width}}-of-{shards}.parquet")


def asked_shards(plan: Plan) -> Iterator[Shard]:
    """Every shard that a plan asks a model for, in the order the data flows."""
    for kind in PROGRAMS:
        for (stage_kind, _), stage in plan.index.items():
            if stage_kind == kind == "evaluation":
                yield _evaluation(plan, stage)
            elif stage_kind == kind == "judged":
                yield _judged(plan, stage)
            elif stage_kind == kind and shard_folder(stage) not in ("scores", "similarities"):
                for shard in range(stage.execution["shards"]):
                    yield _shard(plan, stage, shard)


def _shard(plan: Plan, stage: Stage, shard: int) -> Shard:
    questions = [plan.path(each, "questions.parquet") for each in stage.inputs["questions"]]
    answers = [plan.path(each) for each in stage.inputs.get("answers", ())]
    model = plan.path(stage.input("model"))
    output = shard_path(plan, stage, shard)
    arguments = [
        *("--questions", *questions, "--model", model),
        *(("--answers", *answers) if answers else ()),
        *_settings(stage.settings, *_OWN[stage.kind]),
        *(("--prompt", stage.execution["prompt"]) if stage.execution["prompt"] else ()),
        *("--shard", str(shard), "--shards", str(stage.execution["shards"]), "--output", output),
    ]
    return Shard(stage, PROGRAMS[stage.kind], tuple(arguments), (*questions, *answers, model), output)


def _evaluation(plan: Plan, stage: Stage) -> Shard:
    questions = [plan.path(each) for each in stage.inputs["benchmarks"]]
    model = plan.path(stage.input("model"))
    output = plan.path(stage, "completions.parquet")
    arguments = []
    for task, path, prompt in zip(stage.settings["tasks"], questions, stage.execution["prompts"], strict=True):
        arguments += ["--benchmark", task["benchmark"], path, prompt or "-", str(task["samples"])]
    arguments += ["--model", model, *_settings(stage.settings), "--output", output]
    return Shard(stage, PROGRAMS[stage.kind], tuple(arguments), (*questions, model), output)


def _judged(plan: Plan, stage: Stage) -> Shard:
    questions, model = (plan.path(stage.input(role)) for role in ("questions", "model"))
    answers = plan.path(stage.input("evaluation"), "completions.parquet")
    output = plan.path(stage)
    arguments = [
        *("--benchmark", stage.settings["benchmark"], "--questions", questions, "--completions", answers),
        *("--prompt", stage.execution["prompt"], "--model", model, *_settings(stage.settings), "--output", output),
    ]
    return Shard(stage, PROGRAMS[stage.kind], tuple(arguments), (questions, answers, model), output)


_OWN = {"written": ("step", "domain"), "labels": ("method", "attempts"), "answers": ("samples",), "assessed": ()}


def _settings(settings: Any, *own: str) -> list[str]:
    """The settings that every program which asks takes, and its own."""
    arguments = ["--sampling", json.dumps(settings["sampling"], sort_keys=True), "--seed", str(settings["seed"])]
    for name in own:
        arguments += [f"--{name}", str(settings[name])]
    return arguments
