"""A student."""

from __future__ import annotations

from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.settings.student import Training, resolved_scale
from openthoughts.plan.stages import Stage


def plan_student(build: Builder, dataset: Stage, training: Training) -> Stage:
    """The base model trained on the dataset."""
    scale = resolved_scale(training, build.catalog.scales)
    entry = build.catalog.models[training.student]
    base = build.model(training.student)
    settings = {"packing": scale.packing, "neat_packing": scale.neat_packing, **scale.changed()}
    preparation = {"template": entry["template"], "cutoff": scale.cutoff, "settings": settings}
    inputs = {"dataset": [dataset], "model": [base]}
    tokenized = build.add("tokenized", training.student, preparation, inputs)
    execution = {"save_steps": scale.save_steps, "nodes": training.nodes, "gpus": training.gpus}
    return build.add(
        "student",
        training.student,
        {"settings": scale.output_settings(), "seed": training.seed, "max_model_len": entry["max_model_len"]},
        {"tokenized": [tokenized], "model": [base]},
        execution,
    )
