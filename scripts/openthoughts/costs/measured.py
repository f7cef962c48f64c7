"""What has run says what is to be expected of what has not: lengths of answers and speeds of engines.

Lengths count by model, kind of stage and what it is about: the domain of answers, the method of labels, the benchmarks
of evaluations. Students are expected to answer like others of the same base. Speeds count by model, number format and
arguments of its engine, structured output and GPUs.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import NamedTuple, Self

from openthoughts.base.hashing import canonical_json
from openthoughts.inference.sampling import Sampling
from openthoughts.plan.expectations import answer_tokens, served_entry
from openthoughts.plan.register import inference
from openthoughts.plan.speeds import engine_gpus
from openthoughts.plan.stages import Stage

FEWEST = 30
"""Answers from which lengths are taken; with fewer the catalog's stand."""

LOADS = 4
"""Answers of one client, as a multiple of the requests in flight, from which its engine's speed counts: with fewer, the
engine was filled for the smaller part of the time."""

CONCURRENCY = 64
"""Requests in flight where the catalog does not say it, as in the rules."""

ERRORS = 2.0
"""Standard errors on either side that a range spans."""

OTHERS = 0.1
"""How far, as a share, answers to other questions of the same kind may lie from those that were measured.

Also how far apart the lengths of answers may be for a speed to hold: bound by the KV cache, it falls as they grow.
"""

CUT = 0.01
"""Share of the answers that the token limit may have cut, for the lengths to hold where the limit is higher."""


@dataclass(frozen=True)
class Tally:
    """Counts that are added field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class Lengths(Tally):
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

    @property
    def error(self) -> float:
        """Standard error of the mean length, as a share of it."""
        mean = self.output_tokens / self.answers
        variance = max(0.0, self.squared / self.answers - mean**2)
        return math.sqrt(variance / self.answers) / max(1.0, mean)


@dataclass(frozen=True)
class Speed(Tally):
    """Tokens that engines gave, and the seconds that they took for them, without their starts."""

    answers: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    parts: int = 0
    """Shards that asked them."""

    @property
    def tokens_per_second(self) -> float:
        """Of one engine."""
        return self.output_tokens / self.seconds

    def is_of(self, tokens: float) -> bool:
        """Whether it was measured on answers of about so many tokens."""
        return abs(tokens - self.output_tokens / self.answers) <= OTHERS * tokens


class Figure(NamedTuple):
    """Mean tokens of a request, and where they are from."""

    input_tokens: float
    output_tokens: float
    error: float
    """Standard error of ``output_tokens``, as a share of it."""
    own: bool
    """Whether they are of the same domain, method or benchmarks, not of other answers of the model."""
    of_its_kind: bool
    """Whether they are, and the engine's speed, where it was measured, is of answers about as long."""
    rests_on: str


@dataclass
class Measured:
    """What was measured. Empty, it knows nothing, and the catalog's figures stand."""

    lengths: dict[tuple[str, str, str], dict[tuple[int, int], Lengths]] = field(default_factory=dict)
    """(model, kind of stage, what it is about) -> (``max_tokens``, tokens at which longer ones count) -> lengths."""
    stored: dict[tuple[str, str, str], Lengths] = field(default_factory=dict)
    """(model, structured output, sampling) -> lengths of answers of the store."""
    speeds: dict[tuple[str, str, int], Speed] = field(default_factory=dict)
    """(``engine_of`` the model, structured output, GPUs of the engine) -> its speed on the planned GPU."""
    notes: list[str] = field(default_factory=list)
    """What was not read, in sentences."""
    _speed_keys: dict[Stage, tuple[str, str, int]] = field(default_factory=dict, repr=False)
    """Those of ``speeds`` by stage, which are asked for often."""

    def add(self, stage: Stage, lengths: Lengths, limit: int) -> None:
        """Count answers of a stage, of which those that are longer count as ``limit`` tokens."""
        by_limit = self.lengths.setdefault((model_of(stage), stage.kind, about(stage)), {})
        key = (max_tokens(stage), limit)
        by_limit[key] = by_limit.get(key, Lengths()) + lengths

    def length(self, stage: Stage) -> Figure | None:
        """Tokens of a request of a stage; null where too few were measured."""
        asks = inference(stage)
        if asks is None or asks.embeds or "sampling" not in stage.settings or not (self.lengths or self.stored):
            return None
        model, limit = model_of(stage), max_tokens(stage)
        own = _usable(self.lengths.get((model, stage.kind, about(stage)), {}), limit)
        if own.answers >= FEWEST:
            return self._figure(own, stage, own=True)
        if asks.lengths_by_model:
            of_model = [lengths for key, lengths in self.lengths.items() if key[:2] == (model, stage.kind)]
            every = sum((_usable(each, limit) for each in of_model), Lengths())
            if every.answers >= FEWEST:
                return self._figure(every, stage, own=False)
        stored = self.stored and self.stored.get((model, schema_name(stage), sampling_key(stage)))
        return self._figure(stored, stage, own=False) if stored and stored.answers >= FEWEST else None

    def _figure(self, lengths: Lengths, stage: Stage, own: bool) -> Figure:
        asked, answered = (tokens / lengths.answers for tokens in (lengths.input_tokens, lengths.output_tokens))
        speed = self.speed(stage)
        unit = "evaluation" if stage.kind == "evaluation" else "shard"
        on = counted(lengths.parts, unit) if lengths.parts else f"{lengths.answers:,} answers of the store"
        of_its_kind = own and (speed is None or speed.is_of(answered))
        return Figure(asked, answered, lengths.error, own, of_its_kind, f"measured on {on}")

    def speed(self, stage: Stage) -> Speed | None:
        """The speed of the engine that a stage asks; null where it was not measured on such GPUs."""
        if not self.speeds:
            return None
        if stage not in self._speed_keys:
            model = stage.input("model")
            self._speed_keys[stage] = (engine_of(model), schema_name(stage), engine_gpus(served_entry(model)))
        found = self.speeds.get(self._speed_keys[stage])
        return found if found and found.output_tokens and found.seconds > 0 else None

    def answer_tokens(self, stage: Stage) -> float | None:
        """Tokens of one of a stage's answers: measured, else the catalog's."""
        figure = self.length(stage)
        return figure.output_tokens if figure else answer_tokens(stage)


def _usable(by_limit: dict[tuple[int, int], Lengths], limit: int) -> Lengths:
    """Lengths that hold under a token limit: measured under no lower one, or hardly cut by it."""
    known = (
        each
        for (most, counted_as), each in by_limit.items()
        if counted_as == min(most, limit) and (most >= limit or each.cut <= CUT * each.answers)
    )
    return sum(known, Lengths())


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


def max_tokens(stage: Stage) -> int:
    """Most tokens of one of a stage's answers."""
    return int(stage.settings["sampling"]["max_tokens"])


def engine_of(model: Stage) -> str:
    """What the engine of a model serves: the base's name, number format and arguments that may change answers.

    A student is served as its base, but for the quantisation, which its training ends.
    """
    is_student = "model" in model.inputs
    base = model.input("model") if is_student else model
    entry = base.settings["entry"]
    quantization = None if is_student else entry.get("quantization")
    return canonical_json([base.settings["name"], entry.get("dtype"), quantization, entry.get("engine_args")])


def full_load(model: Stage) -> int:
    """Answers of one client from which the speed of a model's engine counts."""
    return LOADS * int(served_entry(model).get("serving", {}).get("concurrency") or CONCURRENCY)


def about(stage: Stage) -> str:
    """What a stage asks about: method of labels and verdicts, benchmark of a judge, benchmarks, else its id's label."""
    settings = stage.settings
    if stage.kind == "evaluation":
        return ", ".join(f"{task['samples']} x {task['benchmark']}" for task in settings["tasks"])
    return str(settings.get("method") or settings.get("benchmark") or stage.id.rpartition("-")[0])


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
