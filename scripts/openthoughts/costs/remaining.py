"""What is left to be asked: how many answers of each stage are written already, or lie in the completion store."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path

from openthoughts.plan.shards import Shard
from openthoughts.plan.stages import Stage
from openthoughts.store.usage import Usage


def answers_there(shards: Iterable[Shard], store: Path) -> dict[Stage, int]:
    """Stage -> how many of its answers need not be asked for. Asks nobody and writes nothing.

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
            there[stage] += _stored(shard, store)
    return there


def _stored(shard: Shard, store: Path) -> int:
    """How many answers of a shard the store holds, by the program that would ask for them."""
    logging.getLogger("openthoughts.inference.completions").setLevel(logging.WARNING)
    program = importlib.import_module(shard.program)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        program.main([*shard.arguments, "--store", str(store), "--count"])
    return int(said.getvalue().split()[0])
