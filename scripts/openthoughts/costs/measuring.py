"""Reads what has run: finished shards below the results, what engines noted beside the store, and the store itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.gpus import is_gpu
from openthoughts.base.hashing import canonical_json
from openthoughts.costs.measured import FEWEST, Lengths, Measured, Speed, asking_stages, counted, model_of
from openthoughts.costs.spending import answer_tables
from openthoughts.models.model import Model
from openthoughts.plan.plan_file import PLANS
from openthoughts.plan.register import KINDS
from openthoughts.plan.stages import Plan, Stage
from openthoughts.store.gpu_hours import used_by_all
from openthoughts.store.keys import model_partition
from openthoughts.store.reading import StoreReader
from openthoughts.store.rows import FORGOTTEN

EARLIER_PLANS = 20
"""Plans of earlier configurations that are read, the newest first."""

PLAN_BYTES = 64 * 2**20
"""Size from which a plan of an earlier configuration is left out."""

STORED_ROWS = 200_000
"""Answers of a model that are read of the store: those of the first files, which hold questions by their hash."""

MESSAGES = r'"messages":"[0-9a-f]*",?'
"""The part of a stored request that is another for each question."""


def measure(plan: Plan, store: Path, gpu: str | None) -> Measured:
    """What has run under the results of a plan, of this configuration or an earlier one, and on which GPUs.

    ``gpu``: the name of the planned GPU; speeds count that were measured on it. Reads, and asks nothing.
    """
    measured = Measured()
    unread = 0
    for stage in (*asking_stages(plan.index.values()), *earlier_stages(plan)):
        folder = Path(plan.results) / stage.folder
        shards = stage.execution.get("shards")
        for path, _ in answer_tables(folder, shards) if folder.is_dir() else ():
            whole = shards if shards and path.parent == folder else 1
            try:
                measured.add(stage, lengths_of(path, whole))
            except (pl.exceptions.PolarsError, OSError, ValueError):
                unread += 1
    if unread:
        measured.notes.append(f"not measured, as it could not be read: {counted(unread, 'table')} of answers.")
    read_speeds(store, gpu, measured)
    if (store / "store.json").exists():
        read_store(plan, store, measured)
    return measured


def lengths_of(path: Path, parts: int) -> Lengths:
    """The lengths of a table of completions, made by so many shards."""
    return _lengths(pl.scan_parquet(path, glob=False).filter(pl.col("error").is_null()), parts)


def _lengths(answers: pl.LazyFrame, parts: int) -> Lengths:
    return Lengths(**answers.select(*_SUMS).collect().row(0, named=True), parts=parts)


_SUMS = (
    pl.len().alias("answers"),
    pl.col("prompt_tokens").sum().alias("input_tokens"),
    pl.col("completion_tokens").sum().alias("output_tokens"),
    pl.col("completion_tokens").cast(pl.Float64).pow(2).sum().alias("squared"),
    (pl.col("finish_reason") == "length").sum().alias("cut"),
)
"""The fields of ``Lengths`` that are sums over answers."""


def earlier_stages(plan: Plan) -> Iterator[Stage]:
    """Stages whose answers lie below the results and that the plan does not have, as earlier plans describe them."""
    results = Path(plan.results)
    wanted: set[tuple[str, str]] = set()
    for name, kind in KINDS.items():
        folder = results / kind.folder
        if kind.asks and folder.is_dir():
            wanted |= {(name, each.name) for each in folder.iterdir() if each.is_dir()}
    wanted -= set(plan.index)
    plans = sorted((results / PLANS).glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in plans[:EARLIER_PLANS]:
        if not wanted:
            return
        if path.stat().st_size < PLAN_BYTES:
            found = [stage for stage in asking_stages(_stages_of(path)) if (stage.kind, stage.id) in wanted]
            wanted -= {(stage.kind, stage.id) for stage in found}
            yield from found


def _stages_of(path: Path) -> list[Stage]:
    """The stages of a plan that was written; none where it is of a version that this one does not read."""
    known: dict[str, Stage] = {}
    try:
        for record in json.loads(path.read_text(encoding="utf-8"))["plan"]["stages"]:
            stage = Stage.from_json(record, known)
            if stage.kind in KINDS:
                known[stage.name] = stage
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return list(known.values())


def read_speeds(store: Path, gpu: str | None, measured: Measured) -> None:
    """Measure what engines gave on a GPU; a note says on which others something was measured."""
    others: dict[str, int] = {}
    for use in used_by_all(store):
        if not use.gpus or not use.answers:
            continue
        if gpu is None or not is_gpu(gpu, use.gpu):
            others[use.gpu] = others.get(use.gpu, 0) + use.answers
            continue
        key = (use.model, use.about, use.gpus)
        measured.speeds[key] = measured.speeds.get(key, Speed()) + Speed(use.answers, use.output_tokens, use.seconds, 1)
    planned = f"the plan is for {gpu}" if gpu else "the configuration names no `gpu`"
    for name, answers in sorted(others.items()):
        if answers >= FEWEST:
            measured.notes.append(f"not used, as {planned}: speeds on {name or 'GPUs of unknown name'}.")


def read_store(plan: Plan, store: Path, measured: Measured) -> None:
    """Measure the answers of the store of models of which no shard is finished and that are known here."""
    reader = StoreReader(store)
    asked: dict[str, Stage] = {}
    for stage in asking_stages(plan.index.values()):
        if measured.length(stage) is None:
            asked.setdefault(model_of(stage), stage.input("model"))
    for model, stage in asked.items():
        path = Path(plan.path(stage, "model.json"))
        try:
            rows = reader.scan(model_partition(Model.read(path).key())) if path.is_file() else None
        except UserError:
            continue
        if rows is None:
            continue
        for (about,), lengths in _stored(rows):
            told = json.loads(about)
            key = (model, told.get("response_schema") or "", canonical_json(told.get("sampling")))
            measured.stored[key] = measured.stored.get(key, Lengths()) + lengths


def _stored(rows: pl.LazyFrame) -> Iterable[tuple[tuple[str], Lengths]]:
    """Lengths of stored answers by what their requests have in common."""
    table = (
        rows.filter(pl.col("error").is_null(), ~pl.col("key").str.starts_with(FORGOTTEN))
        .select(
            pl.col("request").str.replace(MESSAGES, "").alias("about"),
            "prompt_tokens",
            "completion_tokens",
            "finish_reason",
        )
        .head(STORED_ROWS)
        .collect()
    )
    for (about,), group in table.group_by("about"):
        if group.height >= FEWEST:
            yield (str(about),), _lengths(group.lazy(), 0)
