"""What is left to be asked: how many answers are there already, and which shards the completion store can write."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from openthoughts.asking.programs import program
from openthoughts.base.cli import UserError
from openthoughts.plan.shards import Shard
from openthoughts.plan.stages import Stage
from openthoughts.store.usage import Usage


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
