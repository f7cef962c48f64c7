"""The answers of a teacher to drawn questions."""

from __future__ import annotations

import math

from openthoughts.plan.expectations import expected_rows
from openthoughts.plan.parts.builder import Builder, needed
from openthoughts.plan.settings.answers import Answers
from openthoughts.plan.speeds import answer_seconds
from openthoughts.plan.stages import Stage


def plan_answers(build: Builder, name: str, drawn: Stage, wanted: Answers) -> Stage:
    """The teacher's answers to the drawn questions of a domain."""
    prompt, path = build.prompt(wanted.prompt)
    settings = {
        "prompt": prompt,
        "sampling": wanted.sampling.identity(),
        "samples": wanted.samples,
        "seed": wanted.seed,
    }
    expected = (expected_rows(drawn) or 1) * wanted.samples
    shards = wanted.shards or math.ceil(expected / answers_per_shard(build, wanted))
    inputs = {"questions": [drawn], "model": [build.model(needed(wanted.teacher))]}
    asked = build.prompt_tokens(wanted.prompt)
    execution = {"prompt": path, "prompt_tokens": asked, "shards": shards, "expected": expected}
    return build.add("answers", name, settings, inputs, execution)


def answers_per_shard(build: Builder, wanted: Answers) -> int:
    """Answers of one shard: as many as the teacher gives in ``shard_hours``, at most those of the recipe."""
    most = wanted.answers_per_shard
    seconds = answer_seconds(build.model(needed(wanted.teacher)).execution)
    if build.shard_hours is None or seconds is None:
        return most
    return max(1, min(most, math.floor(build.shard_hours * 3600 / seconds)))
