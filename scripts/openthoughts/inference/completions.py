"""Questions to completions, through the store: what is there is read, only what is missing is asked.

The one path of every answer: expected requests, streamed; the store's index; the client for what is missing, each
answer journaled as it came; then the table of completions, whole, sorted and written atomically. The engine is entered
at the first miss, so a shard that is complete in the store needs none.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.files import is_full
from openthoughts.base.streams import TableWriter, batched
from openthoughts.base.tables import COMPLETIONS, EVALUATION_COMPLETIONS
from openthoughts.inference.job import Asking, Prompted
from openthoughts.inference.progress import Progress
from openthoughts.inference.protocol import FatalError, Request
from openthoughts.inference.runner import Round
from openthoughts.inference.server import engine
from openthoughts.inference.thinking import error_of_answer, finish_reason, split_thinking, whole_text
from openthoughts.store.gpu_hours import GpuMeter
from openthoughts.store.journal import StoreFullError
from openthoughts.store.rows import blocks
from openthoughts.store.store import Store

BLOCK = 8_000
"""Answers that are looked up at a time."""

COLUMNS = ("key", "text", "reasoning", "finish_reason", "prompt_tokens", "completion_tokens", "seed", "error")
"""What a completion takes from its row of the store."""


log = logging.getLogger(__name__)


def complete_shard(
    prompts: Callable[[], Iterable[Prompted]], asking: Asking, output: Path, by_benchmark: bool = False
) -> bool:
    """Write the completions of ``prompts`` to ``output``, asking only for what the store lacks.

    ``prompts`` gives the wanted answers again at each call, each once, in the output's order: (benchmark, question_id,
    sample). It is gone through several times and never held, so that memory does not grow with the shard.
    The output has the columns of ``COMPLETIONS``, with ``by_benchmark`` of ``EVALUATION_COMPLETIONS``. Where ``asking``
    says ``from_store`` nothing is asked, and nothing is written unless it is complete. Raises ``UserError`` where more
    than ``max_failed`` of the answers failed, another writer keeps the shard, or the run could not go on; what was
    answered is in the store then.
    Returns whether the output was written.
    """
    with _one_sentence_when_full(asking.store), Store(asking.store) as store:
        shard = Shard(prompts, asking, store)
        store.adopt_orphans()
        tally = shard.tally()
        if asking.from_store and tally.missing:
            log.info("%s is not written: %d of its answers are not in the store", output, tally.missing)
            return False
        if tally.missing:
            with store.lease(f"shard-{tally.name}", asking.lease_wait) as had:
                if not had:
                    raise UserError(
                        f"another job is asking for what {output} wants: wait until it ends, or end it, and run again."
                    )
                # However it ends, all answers are in the table, or in a journal of nobody, before the lease goes.
                with store:
                    tally = _ask_until_complete(shard)
        _check(shard, tally)
        _write(shard, output, by_benchmark)
        return True


def count_stored(prompts: Callable[[], Iterable[Prompted]], asking: Asking) -> int:
    """How many of the wanted answers the store holds. Sends no requests and writes nothing."""
    with _one_sentence_when_full(asking.store), Store(asking.store) as store:
        tally = Shard(prompts, asking, store).tally()
    return tally.total - tally.missing


def _ask_until_complete(shard: Shard) -> Tally:
    """Ask round after round until nothing is missing. Raises ``FatalError`` where a round brings nothing."""
    shard.store.adopt_orphans()
    shard.store.refresh()
    tally = shard.tally()
    while tally.missing:
        missing = tally.missing
        _ask_missing(shard, tally)
        shard.store.refresh()
        tally = shard.tally()
        if tally.missing == missing:
            raise FatalError("nothing that was asked came back: see the log, then run again.")
    return tally


@contextlib.contextmanager
def _one_sentence_when_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StoreFullError(folder) from error
        raise


@dataclass
class Tally:
    """What the store has of a shard."""

    total: int = 0
    missing: int = 0
    """Answers to ask for; those that two benchmarks share count once."""
    failed: int = 0
    """Answers that never will be, with their reasons."""
    name: str = ""
    """Digest of all keys, in their order."""

    @property
    def proven(self) -> bool:
        """Whether the store has an answer to any of it."""
        return self.total - self.missing - self.failed > 0


class Shard:
    """The answers that one job wants, and what the store has of them; gone through block by block."""

    def __init__(self, prompts: Callable[[], Iterable[Prompted]], asking: Asking, store: Store) -> None:
        self._prompts = prompts
        self.asking = asking
        self.store = store

    def blocks(self) -> Iterator[tuple[list[Prompted], pl.DataFrame]]:
        """What is wanted, some at a time: the requests, and their key, benchmark, question_id, sample, ``failed`` and
        ``size``, the last two null where the store has nothing."""
        key_of = self.asking.key_maker()
        schema = {"key": pl.String, "benchmark": pl.String, "question_id": pl.String, "sample": pl.Int64}
        for block in batched(self._prompts(), BLOCK):
            rows = [(key_of(one.messages, one.sample, one.seed), one.benchmark, *one[:2]) for one in block]
            table = pl.DataFrame(rows, schema=schema, orient="row")
            ids = table.get_column("question_id")
            index = self.store.index(self.asking.model_id, str(ids.min()), str(ids.max()))
            yield block, table.join(index, on="key", how="left", maintain_order="left")

    def tally(self) -> Tally:
        """Count what is there."""
        tally, seen, name = Tally(), set[str](), hashlib.sha256()
        for _, table in self.blocks():
            keys = table.get_column("key")
            name.update("".join(keys).encode())
            tally.total += table.height
            tally.failed += int(table.get_column("failed").sum())
            tally.missing += sum(_to_ask(table, seen))
        tally.name = name.hexdigest()[:32]
        return tally

    def missing(self) -> Iterator[Request]:
        """What is to be asked for."""
        seen: set[str] = set()
        for block, table in self.blocks():
            for one, key in compress(zip(block, table.get_column("key"), strict=True), _to_ask(table, seen)):
                yield Request(key, one.question_id, one.sample, one.seed, one.messages)


def _to_ask(table: pl.DataFrame, seen: set[str]) -> list[bool]:
    """Which rows are not in the store, each key once; ``seen`` keeps the keys that benchmarks could share."""
    wanted = []
    for key, benchmark, failed in table.select("key", "benchmark", "failed").iter_rows():
        wanted.append(failed is None and key not in seen)
        if failed is None and benchmark:
            seen.add(key)
    return wanted


def _ask_missing(shard: Shard, tally: Tally) -> None:
    asking, store = shard.asking, shard.store
    progress = Progress(total=tally.total, cached=tally.total - tally.missing)
    log.info("%d of %d answers are in the store, asking for the rest", progress.cached, progress.total)
    about = asking.schema.name if asking.schema else ""
    meter = GpuMeter(store, asking.model.name, asking.budget_gpu_hours, asking.grace, about)
    try:
        with engine(asking.model, asking.engine, meter.running) as endpoint:
            Round(asking, store, endpoint, progress, tally.proven, meter).ask(shard.missing())
    finally:
        progress.close()


def _check(shard: Shard, tally: Tally) -> None:
    """Refuse a shard that has more failures than are allowed."""
    if tally.failed <= math.floor(shard.asking.max_failed * tally.total):
        return
    reasons: Counter[str] = Counter()
    for _, table in shard.blocks():
        failed = table.filter("failed").select("key", "question_id")
        reasons.update(shard.store.read(shard.asking.model_id, failed).get_column("error").to_list())
    listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
    raise UserError(
        f"{tally.failed} of {tally.total} answers failed for good, more than --max-failed {shard.asking.max_failed:g} "
        f"allows ({listed}): allow more of them, or fix the cause and ask with other settings."
    )


def _write(shard: Shard, output: Path, by_benchmark: bool) -> None:
    """Write the completions of a shard that is complete in the store, block by block."""
    order = ("benchmark", "question_id", "sample")
    last: tuple[object, ...] = ()
    with TableWriter(output, EVALUATION_COMPLETIONS if by_benchmark else COMPLETIONS) as writer:
        for _, table in shard.blocks():
            places = table.select(order)
            if not places.equals(places.sort(order)) or places.row(0) < last:
                raise ValueError(f"the answers of {output} are wanted in another order than {', '.join(order)}")
            last = places.row(-1)
            for block in (part for one in table.partition_by("benchmark", maintain_order=True) for part in blocks(one)):
                rows = shard.store.read(shard.asking.model_id, block, COLUMNS)
                if gone := len(set(block["key"]) - set(rows["key"])):
                    raise UserError(f"{gone} answers left the store while {output} was written: run again.")
                writer.write(
                    block.drop("size", "failed")
                    .join(rows, on="key", how="left", maintain_order="left")
                    .pipe(in_one_form)
                    .with_columns(model=pl.lit(shard.asking.model.name))
                )
    log.info("%s: %d answers", output, writer.rows)


def in_one_form(rows: pl.DataFrame) -> pl.DataFrame:
    """Answers as they came (text, reasoning, finish_reason and error of the store) in the form of every table."""
    return (
        rows.with_columns(finish_reason=finish_reason())
        .pipe(split_thinking)
        .with_columns(text=whole_text(), error=error_of_answer())
    )
