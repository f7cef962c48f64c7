"""The questions of a recipe's sources, without those of the benchmarks."""

from __future__ import annotations

import math

from openthoughts.inference.sampling import WritingSampling
from openthoughts.plan.config import Settings
from openthoughts.plan.expectations import expected_questions
from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.settings.questions import Decontaminate, Thin
from openthoughts.plan.stages import Stage
from openthoughts.sources.entries import written_prompt, written_steps

WHOLE = Thin()
"""All of a source."""


def plan_source(build: Builder, name: str, thin: Thin = WHOLE) -> Stage:
    """The questions of a source: a share of what is fetched, or written by a model from it."""
    entry = build.catalog.sources[name]
    stages = [plan_thinned(build, name, build.fetched("source", name), thin)]
    for steps in written_steps(entry):
        stages = [plan_written(build, name, step, entry, stages) for step in steps]
    return stages[0]


def plan_thinned(build: Builder, name: str, source: Stage, thin: Thin) -> Stage:
    """A share of what a source has; all of it needs no stage."""
    if thin.share == 1:
        return source
    settings = {"name": name, **thin.identity()}
    return build.add("thinned", name, settings, {"questions": [source]}, source.execution)


def plan_written(build: Builder, name: str, step: str, entry: Settings, questions: list[Stage]) -> Stage:
    """One step on the way from documents to questions."""
    prompt, path = build.prompt(written_prompt(entry, step))
    settings = {
        "name": name,
        "domain": entry["domain"],
        "step": step,
        "prompt": prompt,
        "sampling": WritingSampling.model_validate(entry.get("sampling", {})).identity(),
        "seed": entry.get("seed", 42),
    }
    texts = sum(expected_questions(stage) or 0 for stage in questions)
    shards = max(1, math.ceil(texts / entry.get("questions_per_shard", 50_000)))
    inputs = {"questions": questions, "model": [build.model(entry["model"])]}
    return build.add("written", name, settings, inputs, {**entry, "prompt": path, "shards": shards})


def plan_clean(build: Builder, source: str, settings: Decontaminate, thin: Thin = WHOLE) -> Stage:
    """A source, or a share of it, without the questions of the benchmarks."""
    benchmarks = [build.fetched("benchmark", name) for name in sorted(settings.benchmarks or ())]
    rule = {key: value for key, value in settings.identity().items() if key != "benchmarks"}
    questions = plan_source(build, source, thin)
    return build.add("clean", source, rule, {"questions": [questions], "benchmarks": benchmarks}, questions.execution)
