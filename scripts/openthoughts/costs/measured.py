"""What has run says what is to be expected of what has not: lengths of answers and speeds of engines.

Lengths count by model, kind of stage and what it is about: the domain of answers, the method of labels. Students are
expected to answer like others of the same base. Speeds count by model, structured output and GPUs of the engine.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from openthoughts.base.hashing import canonical_json
from openthoughts.inference.sampling import Sampling
from openthoughts.plan.expectations import answer_tokens, served_entry
from openthoughts.plan.register import inference
from openthoughts.plan.speeds import engine_gpus
from openthoughts.plan.stages import Stage

FEWEST = 30
"""Answers from which lengths and speeds are taken; with fewer the catalog's stand."""

ERRORS = 2.0
"""Standard errors on either side that a range spans."""

OTHERS = 0.1
"""How far, as a share, answers to other questions of the same kind may lie from those that were measured."""

CUT = 0.01
"""Share of the answers that the token limit may have cut, for the lengths to hold where the limit is higher."""


@dataclass(frozen=True)
class Lengths:
    """Answers that came, and their tokens."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    squared: float = 0.0
    """Sum of the squares of the answers' lengths."""
    cut: int = 0
    """Answers that ended at the token limit."""
    parts: int = 0
    """Shards that they are from; 0 where they are from the store."""

    def __add__(self, other: Lengths) -> Lengths:
        return Lengths(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def error(self) -> float:
        """Standard error of the mean length, as a share of it."""
        mean = self.output_tokens / self.answers
        variance = max(0.0, self.squared / self.answers - mean**2)
        return math.sqrt(variance / self.answers) / max(1.0, mean)


@dataclass(frozen=True)
class Speed:
    """Tokens that engines gave, and the seconds that they took for them, without their starts."""

    answers: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    parts: int = 0
    """Shards that asked them."""

    def __add__(self, other: Speed) -> Speed:
        return Speed(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def tokens_per_second(self) -> float:
        """Of one engine."""
        return self.output_tokens / self.seconds


class Figure(NamedTuple):
    """Mean tokens of a request, and where they are from."""

    input_tokens: float
    output_tokens: float
    error: float
    """Standard error of ``output_tokens``, as a share of it."""
    of_its_kind: bool
    """Whether they are of the same domain or method, not of other answers of the model."""
    rests_on: str


@dataclass
class Measured:
    """What was measured. Empty, it knows nothing, and the catalog's figures stand."""

    lengths: dict[tuple[str, str, str], dict[int, Lengths]] = field(default_factory=dict)
    """(model, kind of stage, domain or method) -> ``max_tokens`` -> lengths."""
    stored: dict[tuple[str, str, str], Lengths] = field(default_factory=dict)
    """(model, structured output, sampling) -> lengths of answers of the store."""
    speeds: dict[tuple[str, str, int], Speed] = field(default_factory=dict)
    """(name of the model, structured output, GPUs of the engine) -> its speed on the planned GPU."""
    notes: list[str] = field(default_factory=list)
    """What was not read, in sentences."""

    def add(self, stage: Stage, lengths: Lengths) -> None:
        """Count answers of a stage."""
        by_limit = self.lengths.setdefault((model_of(stage), stage.kind, about(stage)), {})
        limit = stage.settings["sampling"]["max_tokens"]
        by_limit[limit] = by_limit.get(limit, Lengths()) + lengths

    def length(self, stage: Stage) -> Figure | None:
        """Tokens of a request of a stage; null where too few were measured."""
        asks = inference(stage)
        if asks is None or asks.embeds or "sampling" not in stage.settings or not (self.lengths or self.stored):
            return None
        model, limit = model_of(stage), stage.settings["sampling"]["max_tokens"]
        own = _usable(self.lengths.get((model, stage.kind, about(stage)), {}), limit)
        if own.answers >= FEWEST:
            return _figure(own, limit, stage, of_its_kind=True)
        if stage.kind == "answers":
            of_model = [lengths for key, lengths in self.lengths.items() if key[:2] == (model, stage.kind)]
            every = sum((_usable(each, limit) for each in of_model), Lengths())
            if every.answers >= FEWEST:
                return _figure(every, limit, stage, of_its_kind=False)
        stored = self.stored and self.stored.get((model, schema_name(stage), sampling_key(stage)))
        return _figure(stored, limit, stage, of_its_kind=False) if stored and stored.answers >= FEWEST else None

    def speed(self, stage: Stage) -> Speed | None:
        """The speed of the engine that a stage asks; null where it was not measured on such GPUs."""
        if not self.speeds:
            return None
        entry = served_entry(stage.input("model"))
        found = self.speeds.get((base_name(stage), schema_name(stage), engine_gpus(entry)))
        return found if found and found.answers >= FEWEST and found.seconds > 0 else None

    def answer_tokens(self, stage: Stage) -> float | None:
        """Tokens of one of a stage's answers: measured, else the catalog's."""
        figure = self.length(stage)
        return figure.output_tokens if figure else answer_tokens(stage)


def _usable(by_limit: dict[int, Lengths], limit: int) -> Lengths:
    """Lengths that hold under a token limit: measured under no lower one, or hardly cut by it."""
    known = (each for most, each in by_limit.items() if most >= limit or each.cut <= CUT * each.answers)
    return sum(known, Lengths())


def _figure(lengths: Lengths, limit: int, stage: Stage, of_its_kind: bool) -> Figure:
    means = [tokens / lengths.answers for tokens in (lengths.input_tokens, lengths.output_tokens)]
    unit = "evaluation" if stage.kind == "evaluation" else "shard"
    on = counted(lengths.parts, unit) if lengths.parts else f"{lengths.answers:,} answers of the store"
    return Figure(means[0], min(means[1], limit), lengths.error, of_its_kind, f"measured on {on}")


def counted(number: int, unit: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {unit}{'s' * (number != 1)}"


def model_of(stage: Stage) -> str:
    """Who answers a stage: its model; students count as one where they have one base."""
    model = stage.input("model")
    return f"student of {model.input('model').name}" if "model" in model.inputs else model.name


def base_name(stage: Stage) -> str:
    """The name of the model whose engine a stage asks."""
    model = stage.input("model")
    base = model.input("model") if "model" in model.inputs else model
    return str(base.settings["name"])


def about(stage: Stage) -> str:
    """What a stage asks about: the method of labels and verdicts, the benchmark of a judge, else its id's label."""
    settings = stage.settings
    label = "" if stage.kind == "evaluation" else stage.id.rpartition("-")[0]
    return str(settings.get("method") or settings.get("benchmark") or label)


def schema_name(stage: Stage) -> str:
    """Name of the structured output that a stage asks for; empty for free text."""
    from openthoughts.asking.programs import program

    asks = inference(stage)
    schema = program(asks.program).schema(Namespace(**stage.settings)) if asks else None
    return schema.name if schema else ""


def sampling_key(stage: Stage) -> str:
    """The sampling settings of a stage as the store notes them."""
    return canonical_json(Sampling.model_validate(stage.settings["sampling"]).key())


def asking_stages(stages: Iterable[Stage]) -> list[Stage]:
    """The stages that ask a model for texts, each once."""
    found = []
    for stage in dict.fromkeys(stages):
        asks = inference(stage)
        if asks is not None and not asks.embeds and "sampling" in stage.settings:
            found.append(stage)
    return found
