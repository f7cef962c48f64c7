"""The choice among the answers of a domain."""

from __future__ import annotations

import math

from openthoughts.answers.filters import FILTERS
from openthoughts.plan.parts.builder import Builder, needed
from openthoughts.plan.parts.examples import plan_classifier
from openthoughts.plan.settings.answers import Filter
from openthoughts.plan.stages import Stage


def plan_filtered(build: Builder, name: str, drawn: Stage, answers: Stage, measured: Stage, block: Filter) -> Stage:
    """The answers that a filter chooses."""
    by = block.by
    inputs = {"questions": [drawn], "answers": [answers]}
    if FILTERS[by].needs == "measured":
        inputs["measured"] = [measured]
    if FILTERS[by].needs == "assessed":
        inputs["assessed"] = [plan_assessed(build, name, drawn, answers, block)]
    return build.add("filtered", name, {"by": by, "options": block.chosen_options()}, inputs)


def plan_assessed(build: Builder, name: str, drawn: Stage, answers: Stage, block: Filter) -> Stage:
    """An assessment of every answer: a classifier's score, or a model's verdict."""
    shards = max(1, math.ceil(answers.execution["expected"] / block.answers_per_shard))
    inputs = {"questions": [drawn], "answers": [answers]}
    if FILTERS[block.by].assessed_by == "classifier":
        inputs["classifier"] = [plan_classifier(build, block)]
        return build.add("assessed", name, {"method": block.by}, inputs, {"shards": shards})
    inputs["model"] = [build.model(needed(block.model))]
    prompt, path = build.prompt(block.prompt)
    sampling = block.sampling.identity()
    settings = {"method": block.by, "prompt": prompt, "sampling": sampling, "seed": block.seed}
    return build.add("assessed", name, settings, inputs, {"prompt": path, "shards": shards})
