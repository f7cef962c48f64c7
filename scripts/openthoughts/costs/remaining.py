"""What is left: answers that are there already, what the others will cost and when they are there.

Also which shards the completion store can write.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from openthoughts.asking.programs import program
from openthoughts.base.cli import UserError
from openthoughts.costs.estimates import Estimate, estimate_stage
from openthoughts.costs.measured import Measured
from openthoughts.costs.sharing import Together
from openthoughts.models.model import Model
from openthoughts.plan.register import inference
from openthoughts.plan.shards import Shard
from openthoughts.plan.stages import Plan, Stage
from openthoughts.store.reading import StoreReader
from openthoughts.store.usage import Usage

HOUR = 3600.0


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
    return left


def model_name(plan: Plan, stage: Stage) -> str | None:
    """The name under which the store keeps the answers of a stage's model; null for a student not yet trained."""
    model = stage.input("model")
    if "name" in model.settings:
        return str(model.settings["name"])
    path = Path(plan.path(model))
    return Model.read(path).name if path.is_file() else None


def ends(left: Left, store: Path, now: float | None = None) -> dict[str, tuple[int, int, float]]:
    """Name of each model that answered within the last hour -> answers of that hour, requests left, time of their end.

    The time (seconds since 1970) is that at which the requests are done at the last hour's speed.
    """
    now = time.time() if now is None else now
    lately = StoreReader(store).answered_since(now - HOUR) if (store / "store.json").exists() else {}
    return {
        name: (lately[name], requests, now + HOUR * requests / lately[name])
        for name, requests in left.requests.items()
        if lately.get(name)
    }


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
