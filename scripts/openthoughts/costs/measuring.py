"""Reads what has run: finished shards below the results, what engines noted beside the store, and the store itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.gpus import is_gpu
from openthoughts.base.hashing import canonical_json
from openthoughts.costs.measured import (
    FEWEST,
    Lengths,
    Measured,
    Speed,
    asking_stages,
    counted,
    engine_of,
    full_load,
    max_tokens,
    model_of,
)
from openthoughts.costs.spending import answer_tables
from openthoughts.models.model import Model
from openthoughts.plan.plan_file import PLANS
from openthoughts.plan.register import KINDS
from openthoughts.plan.stages import Plan, Stage
from openthoughts.store.gpu_hours import used_by_each
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
    planned = asking_stages(plan.index.values())
    earlier = list(earlier_stages(plan))
    limits: dict[tuple[str, str], set[int]] = {}
    for stage in planned:
        limits.setdefault((model_of(stage), stage.kind), set()).add(max_tokens(stage))
    unread = untold = 0
    for stage in (*planned, *earlier):
        folder = Path(plan.results) / stage.folder
        shards, most = stage.execution.get("shards"), max_tokens(stage)
        lower = {limit for limit in limits.get((model_of(stage), stage.kind), ()) if limit < most}
        for path, _ in answer_tables(folder, shards) if folder.is_dir() else ():
            whole = shards if shards and path.parent == folder else 1
            try:
                for limit in (most, *lower):
                    measured.add(stage, lengths_of(path, whole, limit), limit)
                untold += untold_of(path)
            except (pl.exceptions.PolarsError, OSError, ValueError):
                unread += 1
    if unread:
        measured.notes.append(f"not measured, as it could not be read: {counted(unread, 'table')} of answers.")
    if untold:
        measured.notes.append(f"not measured, as the server did not tell their tokens: {counted(untold, 'answer')}.")
    if (store / "store.json").exists():
        reader = StoreReader(store)
        read_speeds(plan, [*planned, *earlier], reader, gpu, measured)
        read_store(plan, reader, measured)
    return measured


TOLD = pl.col("prompt_tokens").is_not_null() & pl.col("completion_tokens").is_not_null()
"""Whether the server told the tokens of an answer."""


def lengths_of(path: Path, parts: int, limit: int) -> Lengths:
    """The lengths of a table of completions, made by so many shards; longer ones count as ``limit`` tokens.

    Answers whose tokens the server did not tell do not count.
    """
    return _lengths(pl.scan_parquet(path, glob=False).filter(pl.col("error").is_null()), parts, limit)


def untold_of(path: Path) -> int:
    """Answers of a table of completions whose tokens the server did not tell."""
    answers = pl.scan_parquet(path, glob=False).filter(pl.col("error").is_null() & ~TOLD)
    return int(answers.select(pl.len()).collect().item())


def _lengths(answers: pl.LazyFrame, parts: int, limit: int | None) -> Lengths:
    tokens = pl.col("completion_tokens").clip(upper_bound=limit)
    sums = (
        pl.len().alias("answers"),
        pl.col("prompt_tokens").sum().alias("input_tokens"),
        tokens.sum().alias("output_tokens"),
        tokens.cast(pl.Float64).pow(2).sum().alias("squared"),
        (pl.col("finish_reason") == "length").sum().alias("cut"),
    )
    found = answers.filter(TOLD).select(*sums).collect().row(0, named=True)
    return Lengths(**found, parts=parts) if found["answers"] else Lengths()


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


def read_speeds(plan: Plan, stages: Sequence[Stage], reader: StoreReader, gpu: str | None, measured: Measured) -> None:
    """Measure what engines gave on a GPU; a note says on which others something was measured.

    ``stages``: those that ask, of the plan and of earlier ones. What a client's engine gave counts for those of their
    models under whose partition its answers lie, where they were enough to fill it for most of the time.
    """
    others: dict[str, int] = {}
    uses = {}
    for writer, use in used_by_each(reader.folder).items():
        if not use.gpus or not use.answers:
            continue
        if gpu is not None and is_gpu(gpu, use.gpu):
            uses[writer] = use
        else:
            others[use.gpu] = others.get(use.gpu, 0) + use.answers
    needed = {engine_of(stage.input("model")): full_load(stage.input("model")) for stage in reversed(stages)}
    for writer, engine in _writers(plan, stages, reader) if uses else ():
        if (told := uses.get(writer)) and told.answers >= needed[engine]:
            key = (engine, told.about, told.gpus)
            more = Speed(told.answers, told.output_tokens, told.seconds, 1)
            measured.speeds[key] = measured.speeds.get(key, Speed()) + more
    planned = f"the plan is for {gpu}" if gpu else "the configuration names no `gpu`"
    for name, answers in sorted(others.items()):
        if answers >= FEWEST:
            measured.notes.append(f"not used, as {planned}: speeds on {name or 'GPUs of unknown name'}.")


def _writers(plan: Plan, stages: Iterable[Stage], reader: StoreReader) -> set[tuple[str, str]]:
    """(writer of the store, engine of the model that it asked), of the models of some stages that are known here."""
    found = set()
    for model in dict.fromkeys(stage.input("model") for stage in stages):
        partition = _partition(plan, model)
        if partition is not None:
            found |= {(writer, engine_of(model)) for writer in reader.writers_of(partition)}
    return found


def _partition(plan: Plan, model: Stage) -> str | None:
    """The partition of a model's answers in the store; null where it is not known here."""
    path = Path(plan.path(model, "model.json"))
    try:
        return model_partition(Model.read(path).key()) if path.is_file() else None
    except UserError:
        return None


def read_store(plan: Plan, reader: StoreReader, measured: Measured) -> None:
    """Measure the answers of the store of models of which no shard is finished and that are known here."""
    asked: dict[Stage, str] = {}
    for stage in asking_stages(plan.index.values()):
        if measured.length(stage) is None:
            asked[stage.input("model")] = model_of(stage)
    known = {(model, partition) for stage, model in asked.items() if (partition := _partition(plan, stage))}
    for model, partition in sorted(known):
        rows = reader.scan(partition)
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
        .filter(pl.col("request").is_not_null())  # an earlier version did not note it
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
            yield (str(about),), _lengths(group.lazy(), 0, None)
