"""What is left: answers that are there already, what the others will cost and when they are there.

Also which shards the completion store can write.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from openthoughts.asking.programs import program
from openthoughts.base.cli import UserError
from openthoughts.costs.estimates import Estimate, estimate_stage
from openthoughts.costs.measured import Measured, counted
from openthoughts.costs.sharing import Together
from openthoughts.models.model import Model
from openthoughts.plan.expectations import served_entry
from openthoughts.plan.register import inference
from openthoughts.plan.shards import Shard
from openthoughts.plan.stages import Plan, Stage
from openthoughts.store.gpu_hours import used_by_all
from openthoughts.store.reading import StoreReader
from openthoughts.store.usage import Usage

HOUR = 3600.0
"""Seconds of answers from which a speed is taken."""

SHORTEST = 60.0
"""Seconds from which on; answers are seen in the store about a minute after they came."""


def answers_there(shards: Iterable[Shard], store: Path) -> dict[Stage, int]:
    """Stage -> how many of its answers need not be asked for. Sends no requests and writes nothing.

    A finished shard counts with its rows; of another one whose questions and model are there, every answer is looked up
    in the store by its key.
    """
    there: dict[Stage, int] = {}
    merged: set[Stage] = set()
    known = (store / "store.json").exists()
    for shard in shards:
        stage, output = shard.stage, Path(shard.output)
        there.setdefault(stage, 0)
        if stage in merged:
            continue
        if shard.merged and Path(shard.merged).is_file():
            there[stage] = Usage.of(Path(shard.merged)).requests
            merged.add(stage)
        elif output.is_file():
            there[stage] += Usage.of(output).requests
        elif known and all(Path(path).exists() for path in shard.inputs):
            there[stage] += program(shard.program).count_stored([*shard.arguments, "--store", str(store)])
    return there


@dataclass
class Left:
    """What is left of some stages."""

    whole: Estimate = field(default_factory=Estimate)
    requests: dict[str, int] = field(default_factory=dict)
    """Name of each model -> requests to it that are left, as far as they are known."""
    tokens: dict[str, float] = field(default_factory=dict)
    """Name of each model -> tokens of the answers to them."""
    in_batches: set[str] = field(default_factory=set)
    """Names of the models that are asked in batches, whose answers come all at once."""


class End(NamedTuple):
    """When the requests to a model are done, and what that rests on."""

    model: str
    requests: int
    when: float
    """Seconds since 1970."""
    rests_on: str


def left_of(plan: Plan, stages: Iterable[Stage], there: Mapping[Stage, int], measured: Measured) -> Left:
    """What is left of stages, of which so many answers are there; a stage whose main file is there is done."""
    left, together = Left(), Together()
    for stage in dict.fromkeys(stages):
        share = together.add(stage)
        if Path(plan.path(stage)).exists():
            continue
        own = estimate_stage(stage, measured)
        if inference(stage) is not None and own.requests:
            share = min(share, max(0, own.requests - there.get(stage, 0)) / own.requests)
        rest = own.bought(share)
        left.whole += rest
        if rest.requests and (name := model_name(plan, stage)):
            left.requests[name] = left.requests.get(name, 0) + rest.requests
            left.tokens[name] = left.tokens.get(name, 0.0) + rest.output_tokens
            if served_entry(stage.input("model")).get("serving", {}).get("mode") == "batch":
                left.in_batches.add(name)
    return left


def model_name(plan: Plan, stage: Stage) -> str | None:
    """The name under which the store keeps the answers of a stage's model; null for a student not yet trained."""
    model = stage.input("model")
    if "name" in model.settings:
        return str(model.settings["name"])
    path = Path(plan.path(model))
    return Model.read(path).name if path.is_file() else None


def ends(left: Left, store: Path, now: float | None = None) -> list[End]:
    """When the requests to each model are done that is asked now, but for those that are asked in batches.

    At the speed at which clients that are alive had answers in the last hour, since the first of them; where none is in
    the store yet, at that of the engines that run.
    """
    now = time.time() if now is None else now
    lately = StoreReader(store).answered_since(now - HOUR) if (store / "store.json").exists() else {}
    uses = used_by_all(store)
    found = []
    for name, requests in left.requests.items():
        if name in left.in_batches:
            continue
        engines = [use for use in uses if use.model == name and use.reserved and use.seconds]
        speed = sum(use.output_tokens / use.seconds for use in engines)
        if name in lately:
            answers, first = lately[name]
            span = max(SHORTEST, now - first)
            on = f"{answers:,} answers in the last {counted(round(span / 60), 'minute')}"
            found.append(End(name, requests, now + span * requests / answers, on))
        elif speed:
            on = f"{counted(len(engines), 'engine')} at {speed:,.0f} tokens/s together"
            found.append(End(name, requests, now + left.tokens[name] / speed, on))
    return found


def write_stored(shard: Shard, store: Path, max_failed: float) -> str:
    """Write one shard if the store holds all of it. Sends no requests.

    Returns what came of it: ``written``, ``there`` before, ``early`` (its questions or its model are not there yet), or
    ``asked`` (some of it has to be asked for). Raises ``UserError`` where more than ``max_failed`` of it failed.
    """
    if Path(shard.output).exists():
        return "there"
    if not all(Path(path).exists() for path in shard.inputs):
        return "early"
    if not (store / "store.json").exists():
        return "asked"
    how = ["--store", str(store), "--max-failed", str(max_failed)]
    try:
        written = program(shard.program).write_stored([*shard.arguments, *how])
    except UserError as error:
        raise UserError(f"{shard.output} cannot be written from the store: {error}") from error
    return "written" if written else "asked"
