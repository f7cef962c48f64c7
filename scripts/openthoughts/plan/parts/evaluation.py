"""What models score on benchmarks."""

from __future__ import annotations

from typing import Any

from openthoughts.grading.graders import GRADERS
from openthoughts.inference.sampling import JudgeSampling
from openthoughts.plan.config import Settings
from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.settings.student import Evaluation
from openthoughts.plan.stages import Stage


def plan_evaluation(build: Builder, label: str, model: Stage, wanted: Evaluation) -> Stage:
    """A model's answers to benchmarks, and their grades."""
    tasks, prompts, asked = [], [], []
    for name in sorted(wanted.benchmarks):
        entry = build.catalog.benchmarks[name]
        prompt, path = build.prompt(entry.get("prompt"))
        samples = wanted.samples or entry.get("samples", 1)
        task = {"benchmark": name, "grader": entry["grader"], "prompt": prompt, "samples": samples}
        if GRADERS[entry["grader"]].asks_judge:
            task["judge"] = judge_settings(build, entry["judge"])
        tasks.append(task)
        prompts.append(path)
        asked.append(build.prompt_tokens(entry.get("prompt")))
    settings = {"tasks": tasks, "sampling": wanted.sampling.identity(), "seed": wanted.seed}
    benchmarks = [build.fetched("benchmark", task["benchmark"]) for task in tasks]
    inputs = {"model": [model], "benchmarks": benchmarks}
    return build.add("evaluation", label, settings, inputs, {"prompts": prompts, "prompt_tokens": asked})


def judge_settings(build: Builder, judge: Settings) -> dict[str, Any]:
    """What of a judge changes its verdicts."""
    return {
        "model": build.model(judge["model"]).id,
        "prompt": build.prompt(judge["prompt"])[0],
        "sampling": JudgeSampling.model_validate(judge.get("sampling", {})).identity(),
    }


def plan_judged(build: Builder, evaluation: Stage) -> tuple[Stage, ...]:
    """What judges say of the answers of an evaluation: a stage for each judge that its benchmarks have."""
    if evaluation not in build.judgements:
        stages = []
        tasks = [task for task in evaluation.settings["tasks"] if "judge" in task]
        questions = dict(
            zip(
                (task["benchmark"] for task in evaluation.settings["tasks"]),
                evaluation.inputs["benchmarks"],
                strict=True,
            )
        )
        for name in dict.fromkeys(task["benchmark"] for task in tasks):
            judge = build.catalog.benchmarks[name]["judge"]
            task = next(task for task in tasks if task["benchmark"] == name)
            settings = {**task["judge"], "benchmark": name, "seed": evaluation.settings["seed"]}
            inputs = {
                "evaluation": [evaluation],
                "questions": [questions[name]],
                "model": [build.model(judge["model"])],
            }
            execution = {"prompt": build.prompt(judge["prompt"])[1], "samples": task["samples"]}
            stages.append(build.add("judged", name, settings, inputs, execution))
        build.judgements[evaluation] = tuple(stages)
    return build.judgements[evaluation]
