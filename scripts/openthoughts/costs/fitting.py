"""Whether the models of a plan fit on the GPUs that serve and train them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from openthoughts.models.training_memory import TrainingMemory, training_memory
from openthoughts.plan.register import KINDS, asked
from openthoughts.plan.speeds import architecture_of, gpu_of, served
from openthoughts.plan.stages import Stage

USABLE = 0.95
"""Share of a GPU's memory above which a training is told not to fit."""


class PlannedTraining(NamedTuple):
    """A training as its memory depends on it."""

    name: str
    gpus: int
    cutoff: int
    memory: TrainingMemory
    has_gib: float


def trainings(stages: Iterable[Stage]) -> Iterator[PlannedTraining]:
    """The distinct trainings of a plan whose GPU and architecture are known."""
    seen: set[tuple[str, int, int]] = set()
    for stage in stages:
        entry = stage.input("model").execution if KINDS[stage.kind].trained_by else {}
        gpus = int(stage.execution.get("nodes", 0) * stage.execution.get("gpus", 0))
        if not gpus or entry.get("gpu") is None or entry.get("architecture") is None:
            continue
        key = (stage.input("model").settings["name"], gpus, stage.settings["settings"]["cutoff"])
        if key not in seen:
            seen.add(key)
            yield PlannedTraining(*key, training_memory(architecture_of(entry), *key[1:]), gpu_of(entry).memory_gib)


def memory_lines(stages: Iterable[Stage], gpu: str | None) -> Iterator[str]:
    """What each training takes of a GPU, by part."""
    for each in trainings(stages):
        yield (
            f"training {each.name} on {each.gpus} {gpu} with rows of {each.cutoff:,} tokens takes about "
            f"{each.memory.total() / 2**30:,.0f} of {each.has_gib:,.0f} GiB on each ({each.memory.in_words()})"
        )


def memory_warnings(stages: Iterable[Stage]) -> Iterator[str]:
    """Models that cannot be served on their GPUs, and trainings that are not expected to fit."""
    stages = list(stages)
    yield from _unserved(stages)
    for each in trainings(stages):
        needed = each.memory.total() / 2**30
        if needed > USABLE * each.has_gib:
            yield (
                f"training {each.name} on {each.gpus} GPUs takes about {needed:,.0f} GiB on each, which has "
                f"{each.has_gib:,.0f} ({each.memory.in_words()}): train on more GPUs, or with a lower cutoff."
            )


def _unserved(stages: Iterable[Stage]) -> Iterator[str]:
    for base in asked(stages):
        model = served(base.execution)
        if model is None or model.fits:
            continue
        name, gpus, heads = base.settings["name"], model.tensor_parallel, model.architecture.num_attention_heads
        if heads % gpus:
            yield f"{name} has {heads} heads of attention, which {gpus} GPUs cannot share evenly: fix tensor_parallel."
        else:
            yield (
                f"the weights of {name} ({model.weight_bytes / 2**30:,.0f} GiB) do not fit on {gpus} GPUs of "
                f"{model.gpu.memory_gib:,.0f} GiB: raise tensor_parallel, or quantize."
            )
