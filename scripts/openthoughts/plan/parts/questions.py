"""From the sources of a domain to its drawn questions."""

from __future__ import annotations

import math
from typing import Any

from openthoughts.plan.expectations import expected_questions
from openthoughts.plan.parts.builder import Builder, needed
from openthoughts.plan.parts.examples import plan_classifier, plan_direction
from openthoughts.plan.parts.sources import plan_clean
from openthoughts.plan.settings.questions import Select
from openthoughts.plan.settings.recipe import Domain
from openthoughts.plan.stages import Stage
from openthoughts.questions.labels import METHODS


def plan_questions(build: Builder, name: str, block: Domain) -> dict[str, Stage]:
    """The stages of a domain's questions, from its mixed sources to those that are drawn."""
    sources = block.mixed_sources()
    shares = block.shares()
    counted = block.counted()
    selected = [
        plan_selected(
            build, source, plan_clean(build, source, block.decontaminate, block.thin), block.select, share, counted
        )
        for source, share in zip(sources, shares, strict=True)
    ]
    mixed = build.add("mixed", name, {"seed": block.mix_seed}, {"questions": selected})
    limited = plan_limited(build, name, mixed, block)
    duplicates = block.deduplicate
    rule = duplicates.identity() if duplicates.level == "fuzzy" else {"level": duplicates.level}
    deduplicated = build.add("deduplicated", name, rule, {"questions": [limited]})
    draw: dict[str, Any] = {"count": block.drawn_count(), "seed": block.draw_seed}
    if block.fill and draw["count"] is not None:
        draw["fill"] = True
    how = {"short": block.short}
    drawn = build.add("drawn", name, draw, {"questions": [deduplicated]}, how)
    build.tighten(drawn, how, "fails")
    return {"mixed": mixed, "limited": limited, "deduplicated": deduplicated, "drawn": drawn}


def plan_labels(build: Builder, source: str, clean: Stage, select: Select) -> Stage:
    """One label per question of a source."""
    method = select.by
    shards = max(1, math.ceil((expected_questions(clean) or 1) / select.questions_per_shard))
    chosen = METHODS[method]
    inputs: dict[str, list[Stage]] = {"questions": [clean]}
    if chosen.asks is not None:
        inputs["model"] = [build.model(needed(select.model))]
    if chosen.learns:
        learn, role = (plan_classifier, "classifier") if chosen.asks is None else (plan_direction, "direction")
        inputs[role] = [learn(build, select)]
    if chosen.asks != "answers":
        return build.add("labels", source, {"method": method}, inputs, {"shards": shards})
    prompt, path = build.prompt(select.prompt)
    settings = {
        "method": method,
        "prompt": prompt,
        "sampling": select.sampling.identity(),
        "seed": select.seed,
        "attempts": select.attempts,
        **{name: getattr(select, name) for name in chosen.settings},
    }
    execution = {"prompt": path, "prompt_tokens": build.prompt_tokens(select.prompt), "shards": shards}
    return build.add("labels", source, settings, inputs, execution)


def plan_selected(build: Builder, source: str, clean: Stage, select: Select, keep: float | None, counted: str) -> Stage:
    """The best questions of a source: ``keep`` of what is ``counted``, rows or (different) questions."""
    inputs = {"questions": [clean]}
    settings: dict[str, Any] = {"by": select.by, "keep": keep}
    if keep is not None and counted != "rows":
        settings["counted"] = counted
    if select.by == "random":
        settings["seed"] = select.seed
    else:
        inputs["labels"] = [plan_labels(build, source, clean, select)]
        settings |= {"at_least": select.at_least, "unlabelled": select.unlabelled}
    return build.add("selected", source, settings, inputs)


def plan_limited(build: Builder, name: str, mixed: Stage, block: Domain) -> Stage:
    """Questions of bounded length."""
    tokenizer: str | None = block.limit.tokenizer
    inputs = {"questions": [mixed]}
    if tokenizer == "teacher":
        teacher = needed(block.answers.teacher)
        tokenizer = build.catalog.models[teacher].get("tokenizer")
        if tokenizer is None:
            inputs["model"] = [build.model(teacher)]
    settings = {"max_tokens": block.limit.max_tokens, "tokenizer": tokenizer}
    return build.add("limited", name, settings, inputs)
