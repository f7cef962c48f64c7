"""Settings of the student: its training, its evaluation, and where it is published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from openthoughts.base.options import Options, execution_only
from openthoughts.inference.sampling import EvaluationSampling
from openthoughts.plan.config import merged
from openthoughts.plan.settings.fields import Names
from openthoughts.training.scales import Scale

Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
"""OWNER/NAME on the hub."""


class Training(Options):
    """Train the student."""

    student: str = Field(description="Model of the catalog that is trained.")
    scale: str = Field(description="Training scale of the catalog.")
    seed: int = Field(42, description="Training seed.")
    overrides: dict[str, Any] = Field(default_factory=dict, description="Settings that replace those of the scale.")
    nodes: int = execution_only(1, ge=1, description="Nodes of the training job.")
    gpus: int = execution_only(8, ge=0, description="GPUs per node.")


class Evaluation(Options):
    """Measure the student."""

    benchmarks: Names = Field(min_length=1, description="Benchmarks of the catalog to answer.")
    sampling: EvaluationSampling = Field(EvaluationSampling(), description="Sampling settings of the answers.")
    seed: int = Field(42, description="Seed of the answers.")
    samples: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Answers per question; null takes each benchmark's own number."
    )
    base: bool = Field(True, description="Whether the untrained student is measured too.")


class Publish(Options):
    """Where `publish_dataset` and `publish_model` put the results on the hub (never part of an id)."""

    dataset: Repository | None = execution_only(None, description="Repository of the dataset, OWNER/NAME.")
    model: Repository | None = execution_only(None, description="Repository of the student, OWNER/NAME.")
    private: bool = execution_only(
        True,
        description="Whether new repositories are private; an existing public one is then refused.",
    )


def resolved_scale(training: Training, scales: Mapping[str, Mapping[str, Any]]) -> Scale:
    """The training scale of a recipe with its overrides. Raises ``SettingError`` where one is unknown or wrong."""
    return Scale.from_json(json.dumps(merged(scales[training.scale], training.overrides)))
