"""Why a cap in dollars cannot be kept: known when the plan is made, so told before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from openthoughts.models.model import API
from openthoughts.models.request_form import RequestForm
from openthoughts.plan.register import inference
from openthoughts.plan.stages import Stage


def budget_problems(stages: Iterable[Stage]) -> list[str]:
    """What a cap in dollars lacks of the hosted models that the stages ask; one's own GPUs cost no dollars."""
    asked = {stage.input("model") for stage in stages if inference(stage) and "model" in stage.inputs}
    hosted = {model.settings["name"]: model.execution for model in asked if model.execution.get("kind") == API}
    return [problem for name, entry in sorted(hosted.items()) for problem in _lacking(name, entry)]


def _lacking(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    if entry.get("price") is None:
        yield f"budget.usd: a cap needs the price of {name}: give it as `price` in its entry of the catalog"
    if entry.get("task") != "embed" and not RequestForm.model_validate(entry.get("request") or {}).has_limit:
        yield (
            f"budget.usd: a cap needs the most tokens of an answer, which the requests of {name} omit: rename "
            "max_tokens instead, or set no budget"
        )
