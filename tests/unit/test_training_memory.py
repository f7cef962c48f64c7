"""What a training takes of each GPU, beside DeepSpeed's own estimate, and when the plan warns of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openthoughts.costs.fitting import memory_lines, memory_warnings
from openthoughts.models.architecture import Architecture
from openthoughts.models.training_memory import training_memory
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_yaml, with_setting
from openthoughts.plan.planner import make_plan

ROOT = Path(__file__).resolve().parents[2]

GIB = 2**30


@pytest.mark.parametrize("gpus", [1, 8, 64])
@pytest.mark.parametrize("name", ["qwen2.5-1.5b-instruct", "qwen2.5-7b-instruct", "qwen2.5-14b-instruct"])
def test_what_a_model_keeps_is_what_deepspeed_estimates(name: str, gpus: int) -> None:
    architecture = Architecture.model_validate(read_catalog([ROOT / "catalog"]).models[name]["architecture"])
    memory = training_memory(architecture, gpus, 16_384)
    kept = memory.weights + memory.gradients + memory.optimizer
    assert kept == pytest.approx(18 * architecture.parameters() / gpus)
    assert memory.total() == pytest.approx(kept + memory.gathered + memory.activations + memory.context)
    longer = training_memory(architecture, gpus, 32_768)
    assert longer.activations == 2 * memory.activations


def warned(gpu: str | None, **settings: Any) -> list[str]:
    config = {**read_yaml(ROOT / "config.yaml"), "gpu": gpu}
    for name, value in settings.items():
        config = with_setting(config, f"recipes.openthoughts3.training.{name}", value)
    return list(memory_warnings(make_plan(config, read_catalog([ROOT / "catalog"])).index.values()))


def test_a_training_that_does_not_fit_is_told() -> None:
    assert warned("h100") == []
    assert warned("a100-80", nodes=1) == []
    (line,) = warned("a100-40", nodes=1, student="qwen2.5-14b-instruct")
    assert line.startswith("training qwen2.5-14b-instruct on 8 GPUs takes about 48 GiB on each, which has 40 (weights")
    (line,) = warned("h100", nodes=1, gpus=1)
    assert "qwen2.5-7b-instruct on 1 GPUs" in line


def test_nothing_is_told_where_no_gpu_is_named() -> None:
    assert warned(None, nodes=1, gpus=1) == []


def test_the_plan_tells_the_parts() -> None:
    config = {**read_yaml(ROOT / "config.yaml"), "gpu": "h100"}
    (line,) = memory_lines(make_plan(config, read_catalog([ROOT / "catalog"])).index.values(), "h100")
    assert line.startswith(
        "training qwen2.5-7b-instruct on 64 h100 with rows of 16,384 tokens takes about 14 of 80 GiB"
    )
    assert "optimizer 1.3, gathered 3.9, activations 6.4" in line
