"""What is left to be asked: how many answers of each stage are written already, or lie in the completion store."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from openthoughts.plan.shards import Shard
from openthoughts.plan.stages import Stage


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
        whole = output.parent.parent / "completions.parquet" if stage.kind == "answers" else output
        there.setdefault(stage, 0)
        if stage in merged:
            continue
        if stage.kind == "answers" and whole.is_file():
            there[stage] = _rows(whole)
            merged.add(stage)
        elif output.is_file():
            there[stage] += _rows(output)
        elif known and all(Path(path).exists() for path in shard.inputs):
            there[stage] += _stored(shard, store)
    return there


def _rows(path: Path) -> int:
    rows: int = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    return rows


def _stored(shard: Shard, store: Path) -> int:
    """How many answers of a shard the store holds, by the program that would ask for them."""
    logging.getLogger("openthoughts.inference.completions").setLevel(logging.WARNING)
    program = importlib.import_module(shard.program)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        program.main([*shard.arguments, "--store", str(store), "--count"])
    return int(said.getvalue().split()[0])
