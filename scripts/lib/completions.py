"""Questions to completions, through the store: what is there is read, only what is missing is asked.

The one path of every answer: expected requests, streamed; the store's index; the client for what is missing, each
answer journaled as it came; then the table of completions, whole, sorted and written atomically. The engine is entered
at the first miss, so a shard that is complete in the store needs none.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from pathlib import Path

import polars as pl

from lib.asking import Asking, Prompted
from lib.cli import UserError
from lib.client import FatalError, Request
from lib.gpu_hours import GpuMeter
from lib.hashing import digest
from lib.journal import StoreFullError, is_full
from lib.progress import Progress
from lib.rounds import Round
from lib.server import engine
from lib.store import Store, blocks
from lib.streams import TableWriter
from lib.tables import COMPLETIONS, EVALUATION_COMPLETIONS

CHUNK = 10_000
"""Expected answers that are Python objects at a time."""

COLUMNS = ("key", "text", "reasoning", "finish_reason", "prompt_tokens", "completion_tokens", "seed", "error")
"""What a completion takes from its row of the store."""

log = logging.getLogger(__name__)


def complete_shard(
    prompts: Callable[[], Iterable[Prompted]], asking: Asking, output: Path, by_benchmark: bool = False
) -> None:
    """Write the completions of ``prompts`` to ``output``, asking only for what the store lacks.

    ``prompts`` gives the wanted answers anew each time it is called, in the same order, each sample of a question of a
    benchmark once. The output has the columns of ``COMPLETIONS``, with ``by_benchmark`` of ``EVALUATION_COMPLETIONS``,
    sorted by (benchmark, question_id, sample). Where ``asking`` says ``from_store`` nothing is asked, and nothing
    is written unless it is complete; where it says ``count``, only how many there are is printed. Raises
    ``UserError`` where more than ``max_failed`` of the answers failed, another writer keeps the shard, or the run
    could not go on; what was answered is in the store then.
    """
    with _one_sentence_when_full(asking.store), Store(asking.store) as store:
        if asking.count:
            state = _look_up(store, _expected(prompts(), asking), asking)
            print(f"{state.height - state.get_column('failed').null_count()} of {state.height}")
            return
        store.adopt_orphans()
        expected = _expected(prompts(), asking)
        state = _look_up(store, expected, asking)
        if asking.from_store and (missing := int(_missing(state).sum())):
            log.info("%s is not written: %d of its answers are not in the store", output, missing)
            return
        if _missing(state).any():
            lease = f"shard-{digest(expected.get_column('key').sort().to_list())}"
            with store.lease(lease, asking.lease_wait) as had:
                if not had:
                    raise UserError(
                        f"another job is asking for what {output} wants: wait until it ends, or end it, and run again."
                    )
                store.adopt_orphans()
                store.refresh()
                state = _look_up(store, expected, asking)
                while missing := int(_missing(state).sum()):
                    _ask_missing(prompts, state, asking, store)
                    store.refresh()
                    state = _look_up(store, expected, asking)
                    if int(_missing(state).sum()) == missing:
                        raise FatalError("nothing that was asked came back: see the log, then run again.")
        _check(state, store, asking)
        _write(state, store, asking, output, by_benchmark)


@contextlib.contextmanager
def _one_sentence_when_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StoreFullError(folder) from error
        raise


def _expected(prompts: Iterable[Prompted], asking: Asking) -> pl.DataFrame:
    """What is wanted, in the order of asking: key, benchmark, question_id, sample."""
    key_of = asking.key_maker()
    schema = {"key": pl.String, "benchmark": pl.String, "question_id": pl.String, "sample": pl.Int64}
    chunks = [pl.DataFrame(schema=schema)]
    rows: list[tuple[str, str, str, int]] = []
    for one in prompts:
        rows.append((key_of(one.messages, one.sample, one.seed), one.benchmark, one.question_id, one.sample))
        if len(rows) == CHUNK:
            chunks.append(pl.DataFrame(rows, schema=schema, orient="row"))
            rows = []
    chunks.append(pl.DataFrame(rows, schema=schema, orient="row"))
    return pl.concat(chunks)


def _look_up(store: Store, expected: pl.DataFrame, asking: Asking) -> pl.DataFrame:
    """``expected`` with ``failed`` and ``size`` of what the store has; null where it has nothing."""
    parts = []
    for part in expected.iter_slices(CHUNK):
        ids = part.get_column("question_id")
        index = store.index(asking.model_id, str(ids.min()), str(ids.max()))
        parts.append(part.join(index, on="key", how="left", maintain_order="left"))
    nothing = store.index(asking.model_id, "", "")
    return pl.concat(parts or [expected.join(nothing, on="key", how="left")])


def _missing(state: pl.DataFrame) -> pl.Series:
    """Which rows are to be asked for: not in the store, and each key once."""
    return state.select(pl.col("failed").is_null() & pl.col("key").is_first_distinct()).to_series()


def _ask_missing(prompts: Callable[[], Iterable[Prompted]], state: pl.DataFrame, asking: Asking, store: Store) -> None:
    missing = _missing(state)
    progress = Progress(total=state.height, cached=state.height - int(missing.sum()))
    log.info("%d of %d answers are in the store, asking for the rest", progress.cached, progress.total)
    requests = (
        Request(key, one.question_id, one.sample, one.seed, one.messages)
        for one, key in compress(zip(prompts(), state.get_column("key"), strict=True), missing)
    )
    proven = state.select((~pl.col("failed")).any()).item()
    meter = GpuMeter(store, asking.model.name, asking.budget_gpu_hours, asking.grace)
    try:
        with engine(asking.model, asking.engine, meter.running) as endpoint:
            Round(asking, store, endpoint, progress, proven, meter).ask(requests)
    finally:
        progress.close()


def _check(state: pl.DataFrame, store: Store, asking: Asking) -> None:
    """Refuse a shard that has gaps, or more failures than are allowed."""
    gaps = state.get_column("failed").is_null().sum()
    if gaps:
        raise FatalError(f"{gaps} of {state.height} answers are still missing: run again for the rest.")
    failed = state.filter(pl.col("failed"))
    if failed.height > math.floor(asking.max_failed * state.height):
        rows = store.read(asking.model_id, failed.select("key", "question_id"))
        reasons = rows.get_column("error").value_counts(sort=True).head(3)
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.iter_rows())
        raise UserError(
            f"{failed.height} of {state.height} answers failed for good, more than --max-failed {asking.max_failed:g} "
            f"allows ({listed}): allow more of them, or see to the cause and ask under other settings."
        )


def _write(state: pl.DataFrame, store: Store, asking: Asking, output: Path, by_benchmark: bool) -> None:
    """Write the completions of a shard that is complete in the store, block by block."""
    wanted = state.select("key", "benchmark", "question_id", "sample", "size").sort("question_id", "sample", "key")
    tables = sorted(wanted.partition_by("benchmark", as_dict=True).items()) if by_benchmark else [("", wanted)]
    with TableWriter(output, EVALUATION_COMPLETIONS if by_benchmark else COMPLETIONS) as writer:
        for block in (block for _, table in tables for block in blocks(table)):
            rows = store.read(asking.model_id, block, COLUMNS)
            writer.write(
                block.drop("size")
                .join(rows, on="key", how="left", maintain_order="left")
                .with_columns(text=whole_text(), model=pl.lit(asking.model.name))
            )
    log.info("%s: %d answers", output, state.height)


def whole_text() -> pl.Expr:
    """The text with the reasoning that the server split off put back in front of it, in the form of DeepSeek-R1."""
    opened = pl.lit("<think>\n") + pl.col("reasoning").str.strip_chars("\n")
    cut_short = (pl.col("text") == "") & (pl.col("finish_reason") == "length")
    closed = opened + "\n</think>\n\n" + pl.col("text")
    return (
        pl.when(pl.col("reasoning").is_null())
        .then(pl.col("text"))
        .when(cut_short.fill_null(False))
        .then(opened)
        .otherwise(closed)
    )
