"""Questions to completions, through the store: what is there is read, only what is missing is asked.

The one path of every answer: expected requests, streamed; the store's index; the client for what is missing, each
answer journaled as it came; then the table of completions, whole, sorted and written atomically. The engine is entered
at the first miss, so a shard that is complete in the store needs none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from lib.batches import MOST_REQUESTS, Batches, folder_of
from lib.budget import Budget, ExhaustedError, Price, worst_cost
from lib.cli import UserError
from lib.client import Answer, Client, FatalError, Limits, Request
from lib.hashing import digest
from lib.journal import StoreFullError, is_full
from lib.models import Model
from lib.progress import Progress
from lib.prompts import Messages
from lib.sampling import Sampling
from lib.server import Endpoint, EngineSettings, add_engine_arguments, engine
from lib.store import FOLD_SECONDS, KeyMaker, Store, blocks, dumps, model_partition
from lib.streams import TableWriter
from lib.tables import COMPLETIONS, EVALUATION_COMPLETIONS

FOLD_BYTES = 64 * 2**20
"""So much is folded into the store at once at the most, however quickly it came."""
CHUNK = 10_000
SHARE_SECONDS = 2.0

log = logging.getLogger(__name__)


class Prompted(NamedTuple):
    """One answer that a stage wants."""

    question_id: str
    sample: int
    seed: int
    messages: Messages
    benchmark: str = ""


@dataclass(frozen=True)
class ResponseSchema:
    """A JSON schema that answers must follow (structured output)."""

    name: str
    schema: Mapping[str, Any]

    def response_format(self) -> dict[str, Any]:
        """The request's ``response_format``."""
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, "schema": dict(self.schema), "strict": True},
        }


@dataclass(frozen=True)
class Asking:
    """Whom to ask, how, and what of it may go wrong."""

    model: Model
    store: Path
    sampling: Sampling
    schema: ResponseSchema | None = None
    limits: Limits = field(default_factory=Limits)
    engine: EngineSettings = field(default_factory=EngineSettings)
    max_failed: float = 0.01
    lease_wait: float = 600.0
    grace: float = 20.0
    price: Price | None = None
    budget_usd: float = 0.0
    """Dollars that all answers of the store together may cost; 0 is no cap."""
    mode: str = "live"
    """``live``, or ``batch`` for the Batch API of a hosted model."""
    batch_poll: float = 60.0
    batch_requests: int = MOST_REQUESTS
    from_store: bool = False
    """Ask nobody: write what is complete in the store and leave the rest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every script which asks a model has."""
    group = parser.add_argument_group("asking")
    group.add_argument("--model", type=Path, required=True, help="model.json of the model to ask")
    group.add_argument("--sampling", required=True, help="sampling settings (JSON)")
    group.add_argument("--seed", type=int, required=True, help="seed from which each request's own is derived")
    group.add_argument("--store", type=Path, required=True, help="folder of the completion store")
    group.add_argument("--max-failed", type=float, default=0.01, help="share of answers that may fail for good")
    group.add_argument("--concurrency", type=int, default=32, help="requests in flight")
    group.add_argument("--requests-per-minute", type=float, default=0, help="limit of this client (0: none)")
    group.add_argument("--tokens-per-minute", type=float, default=0, help="limit of this client (0: none)")
    group.add_argument("--timeout", type=float, default=3600, help="seconds that one answer may take")
    group.add_argument("--lease-wait", type=float, default=600, help="seconds to wait for another writer of the shard")
    group.add_argument("--grace", type=float, default=20, help="seconds that a signal leaves to what is in flight")
    group.add_argument(
        "--price", default="", help='dollars per million tokens: {"input": .., "output": .., "batch": ..}'
    )
    group.add_argument("--budget-usd", type=float, default=0, help="what all answers of the store may cost (0: no cap)")
    group.add_argument("--mode", choices=["live", "batch"], default="live", help="batch: the API's Batch mode")
    group.add_argument("--batch-poll", type=float, default=60, help="seconds between looks at running batches")
    group.add_argument("--batch-requests", type=int, default=MOST_REQUESTS, help="most requests of one batch")
    group.add_argument("--from-store", action="store_true", help="ask nobody: write the output if the store has it all")
    add_engine_arguments(parser)


def read_asking(options: argparse.Namespace, schema: ResponseSchema | None = None) -> Asking:
    """What ``add_arguments`` read from the command line."""
    return Asking(
        model=Model.read(options.model),
        store=options.store,
        sampling=Sampling.parse(options.sampling),
        schema=schema,
        limits=Limits(
            concurrency=max(1, options.concurrency),
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
            timeout=options.timeout,
        ),
        engine=EngineSettings.of(options),
        max_failed=options.max_failed,
        lease_wait=options.lease_wait,
        grace=options.grace,
        price=Price.parse(options.price),
        budget_usd=options.budget_usd,
        mode=options.mode,
        batch_poll=options.batch_poll,
        batch_requests=options.batch_requests,
        from_store=options.from_store,
    )


def complete_shard(prompts: Callable[[], Iterable[Prompted]], asking: Asking, output: Path) -> None:
    """Write the completions of ``prompts`` to ``output``, asking only for what the store lacks.

    ``prompts`` gives the wanted answers anew each time it is called, in the same order, without repeating a sample of
    a question of a benchmark. The output has the columns of ``COMPLETIONS``, after ``benchmark`` where the prompts have
    one, sorted by (benchmark, question_id, sample). With ``from_store`` nothing is asked, and nothing is written where
    something is missing. Raises ``UserError`` where more than ``max_failed`` of the answers
    failed, another writer keeps the shard, or the run could not go on; what was answered is in the store then.
    """
    with _one_sentence_when_full(asking.store), Store(asking.store) as store:
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
        _write(state, store, asking, output)


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
    key_of = KeyMaker(
        asking.model.key(), asking.sampling.key(), dict(asking.schema.schema) if asking.schema is not None else None
    )
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
    ids = expected.get_column("question_id")
    first, last = (str(ids.min()), str(ids.max())) if len(ids) else ("", "")
    index = store.index(model_partition(asking.model.key()), first, last)
    return expected.join(index, on="key", how="left", maintain_order="left")


def _missing(state: pl.DataFrame) -> pl.Series:
    """Which rows are to be asked for: not in the store, and each key once."""
    return state.select(pl.col("failed").is_null() & pl.col("key").is_first_distinct()).to_series()


def _ask_missing(prompts: Callable[[], Iterable[Prompted]], state: pl.DataFrame, asking: Asking, store: Store) -> None:
    missing = _missing(state)
    progress = Progress(total=state.height, cached=state.height - int(missing.sum()))
    log.info("%s", f"{progress.cached} of {progress.total} answers are in the store, asking for the rest")
    keys = state.get_column("key")
    requests = (
        Request(key, one.question_id, one.sample, one.seed, one.messages)
        for one, key in compress(zip(prompts(), keys, strict=True), missing)
    )
    proven = bool((state.get_column("failed") == False).any())  # noqa: E712
    try:
        with engine(asking.model, asking.engine) as endpoint:
            if asking.mode == "batch":
                _ask_in_batches(requests, asking, store, endpoint, progress)
            else:
                asyncio.run(_ask(requests, asking, store, endpoint, progress, proven))
    finally:
        progress.close()


def _ask_in_batches(
    requests: Iterator[Request], asking: Asking, store: Store, endpoint: Endpoint, progress: Progress
) -> None:
    if asking.model.local:
        raise UserError(f"{asking.model.name} is no model of an API, which alone has a batch mode: use mode live.")
    describe = _describer(asking)
    with _signals_raise(), _purse(asking, store) as purse:

        def answered(request: Request, answer: Answer) -> None:
            store.append(describe(request, answer))
            progress.add(answer.error is not None, answer.completion_tokens or 0, _cost(asking, answer))

        def reserve(request: Request) -> float | None:
            if purse is None:
                return 0.0
            with contextlib.suppress(ExhaustedError):
                return purse.reserve(request)
            return None

        batches = Batches(
            store,
            folder_of(store, model_partition(asking.model.key())),
            endpoint,
            asking.model.api_key_variable,
            request_settings(asking),
            poll=asking.batch_poll,
            most_requests=asking.batch_requests,
            reserve=reserve,
            owe=purse.owe if purse is not None else lambda usd: None,
        )
        batches.run(requests, answered)
        if batches.is_broke and not batches.ran and purse is not None:
            raise FatalError(purse.exhausted())
        if batches.failures and not progress.done:
            raise FatalError(f"the API refuses the batches ({batches.failures[0]}): see to it, then run again.")


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """A signal ends the waiting for batches, which run on and are picked up by the next run."""

    def stop(number: int, _: object) -> None:
        raise FatalError(f"{signal.Signals(number).name}: the batches run on, the next run picks them up.")

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    try:
        former = {number: signal.signal(number, stop) for number in numbers}
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


async def _ask(
    requests: Iterator[Request],
    asking: Asking,
    store: Store,
    endpoint: Endpoint,
    progress: Progress,
    proven: bool,
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _signals(loop, stopping), _purse(asking, store) as purse:
        settings = request_settings(asking)
        describe = _describer(asking)

        def answered(request: Request, answer: Answer) -> None:
            store.append(describe(request, answer))
            progress.add(answer.error is not None, answer.completion_tokens or 0, _cost(asking, answer))

        ending = asyncio.Event()
        folding = asyncio.create_task(_fold_often(store, ending))
        try:
            async with Client(
                endpoint,
                settings,
                asking.limits,
                local=asking.model.local,
                proven=proven,
                failure=endpoint.failure,
                purse=purse,
            ) as client:
                sharing = asyncio.create_task(_share_account(client, asking, store, endpoint, ending))
                asked = asyncio.create_task(client.run(requests, answered, stopping, asking.grace))
                await asyncio.wait([asked, folding], return_when=asyncio.FIRST_COMPLETED)
                if folding.done():
                    asked.cancel()
                    await asyncio.gather(asked, return_exceptions=True)
                    await folding
                await asked
        finally:
            ending.set()
            await asyncio.gather(folding, sharing, return_exceptions=True)
    store.fold()


def _cost(asking: Asking, answer: Answer) -> float | None:
    """What an answer cost, by the tokens that the server counted; None where its price is not known."""
    if asking.price is None:
        return None
    return asking.price.of(answer.prompt_tokens or 0, answer.completion_tokens or 0, asking.mode == "batch")


class _Purse:
    """Pays for live requests out of a budget."""

    def __init__(self, budget: Budget, price: Price, asking: Asking) -> None:
        self._budget = budget
        self._price = price
        self._asking = asking

    def reserve(self, request: Request) -> float | None:
        usd = worst_cost(self._price, request.messages, self._asking.sampling.max_tokens, self._asking.mode == "batch")
        return usd if self._budget.take(usd) else None

    def owe(self, usd: float) -> None:
        self._budget.commit(usd)

    def settle(self, reserved: float, answer: Answer | None) -> None:
        self._budget.settle(reserved, (_cost(self._asking, answer) or 0.0) if answer is not None else 0.0)

    def exhausted(self) -> str:
        spent, cap = self._budget.spent(), self._budget.cap
        return (
            f"the budget of {cap:.2f} USD does not pay for another answer ({spent:.2f} are spent, "
            f"{max(0.0, cap - spent):.2f} left): raise `budget: usd` and run again for the rest."
        )


@contextlib.contextmanager
def _purse(asking: Asking, store: Store) -> Iterator[_Purse | None]:
    """What pays for the requests; None where there is no cap. Raises ``UserError`` for a cap without a price."""
    if not asking.budget_usd:
        yield None
        return
    if asking.price is None:
        raise UserError(f"a budget needs the price of {asking.model.name}: give it in the catalog (--price).")
    with Budget(store, asking.budget_usd) as budget:
        try:
            yield _Purse(budget, asking.price, asking)
        finally:
            store.fold()


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGUSR1 (a batch system's warning) stop the asking."""

    def stop(number: signal.Signals) -> None:
        log.info("%s: finishing what is in flight", number.name)
        stopping.set()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            loop.add_signal_handler(number, stop, number)
    except (ValueError, RuntimeError):  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, former[number])


async def _share_account(
    client: Client, asking: Asking, store: Store, endpoint: Endpoint, ending: asyncio.Event
) -> None:
    """Divide the limits, which are an account's, by the clients of it that use this store now."""
    if not (asking.limits.requests_per_minute or asking.limits.tokens_per_minute):
        return
    account = digest([endpoint.base_url, asking.model.api_key_variable, endpoint.model_name])
    with store.sharing(account) as count:
        while not ending.is_set():
            client.share_limits(count())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), SHARE_SECONDS)


async def _fold_often(store: Store, ending: asyncio.Event) -> None:
    """Fold the journal every ``FOLD_SECONDS``; one segment after the other, none of them left halfway."""
    last = time.monotonic()
    while not ending.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), 1.0)
        if time.monotonic() - last < FOLD_SECONDS and store.unfolded_bytes < FOLD_BYTES:
            continue
        last = time.monotonic()
        closed = store.rotate()
        if closed is not None:
            await asyncio.to_thread(store.commit, *closed)


def request_settings(asking: Asking) -> dict[str, Any]:
    """The body of every request but for model, messages and seed."""
    model = asking.model
    modern = not model.local and "api.openai.com" in (model.base_url or "")
    settings = asking.sampling.body(model.local, model.max_model_len, modern)
    if asking.schema is not None:
        settings["response_format"] = asking.schema.response_format()
    return settings


def _describer(asking: Asking) -> Callable[[Request, Answer], dict[str, Any]]:
    """How a request and its answer become a row of the store."""
    model_id = model_partition(asking.model.key())
    sampling, schema = asking.sampling.key(), asking.schema.name if asking.schema else None

    def describe(request: Request, answer: Answer) -> dict[str, Any]:
        asked = {"sampling": sampling, "response_schema": schema, "messages": digest(request.messages)}
        return {
            "key": request.key,
            "model_id": model_id,
            "model": asking.model.name,
            "question_id": request.question_id,
            "sample": request.sample,
            "seed": request.seed,
            "text": answer.text,
            "reasoning": answer.reasoning,
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "error": answer.error,
            "usd": _cost(asking, answer),
            "request": dumps(asked),
            "response": dumps(answer.response),
            "answered_at": time.time_ns() // 1000,
        }

    return describe


def _check(state: pl.DataFrame, store: Store, asking: Asking) -> None:
    """Refuse a shard that has gaps, or more failures than are allowed."""
    gaps = state.get_column("failed").is_null().sum()
    if gaps:
        raise FatalError(f"{gaps} of {state.height} answers are still missing: run again for the rest.")
    failed = state.filter(pl.col("failed"))
    if failed.height > math.floor(asking.max_failed * state.height):
        rows = store.read(model_partition(asking.model.key()), failed.select("key", "question_id"))
        reasons = rows.get_column("error").value_counts(sort=True).head(3)
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.iter_rows())
        raise UserError(
            f"{failed.height} of {state.height} answers failed for good, more than --max-failed {asking.max_failed:g} "
            f"allows ({listed}): allow more of them, or see to the cause and ask under other settings."
        )


def _write(state: pl.DataFrame, store: Store, asking: Asking, output: Path) -> None:
    """Write the completions of a shard that is complete in the store, block by block."""
    has_benchmarks = bool((state.get_column("benchmark") != "").any())
    schema = EVALUATION_COMPLETIONS if has_benchmarks else COMPLETIONS
    model_id = model_partition(asking.model.key())
    wanted = state.select("key", "benchmark", "question_id", "sample", "size").sort("question_id", "sample", "key")
    with contextlib.ExitStack() as stack:
        if has_benchmarks:
            tables = [part for _, part in sorted(wanted.partition_by("benchmark", as_dict=True).items())]
        else:
            tables = [wanted]
        writer = stack.enter_context(TableWriter(output, schema))
        for table in tables:
            for block in blocks(table):
                rows = store.read(model_id, block).drop("question_id", "sample")
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
