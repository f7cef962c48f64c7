"""One round of asking, live or in batches: every answer goes to the store's journal as it comes.

While a live round runs, the journal is folded into the store every minute, an account's limits are divided among its
clients, and a signal lets what is in flight finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import time
from collections.abc import Iterator
from types import FrameType

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import digest
from openthoughts.inference.batch_api import Batches
from openthoughts.inference.batch_files import folder_of
from openthoughts.inference.client import Client
from openthoughts.inference.endpoints import Endpoint
from openthoughts.inference.job import Asking
from openthoughts.inference.progress import Progress
from openthoughts.inference.prompts import Messages
from openthoughts.inference.protocol import Answer, FatalError, Request, remedy
from openthoughts.models.price import Price
from openthoughts.store.budget import Budget
from openthoughts.store.gpu_hours import GpuMeter
from openthoughts.store.rows import dumps
from openthoughts.store.store import FOLD_SECONDS, Store

FOLD_BYTES = 8 * 2**20
"""At most this much is folded into the store at once, however quickly it came."""
FORM_TOKENS = 256
"""Room for what is in a prompt beside its messages: roles, a response schema."""
SHARE_SECONDS = 2.0
METER_SECONDS = 0.5
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What asks a job to end: SIGUSR1 is a batch system's warning of the time limit."""

log = logging.getLogger(__name__)


class Round:
    """Asks one server for a set of requests."""

    def __init__(
        self, asking: Asking, store: Store, endpoint: Endpoint, progress: Progress, proven: bool, meter: GpuMeter
    ) -> None:
        """``proven`` says that the store holds an answer to one of these requests' kind already."""
        self._asking = asking
        self._store = store
        self._endpoint = endpoint
        self._progress = progress
        self._proven = proven
        self._meter = meter
        self._settings = asking.settings()
        self._about = {
            "sampling": asking.sampling.key(),
            "response_schema": asking.schema.name if asking.schema else None,
        }

    def ask(self, requests: Iterator[Request]) -> None:
        """Ask everything. Raises ``UserError`` where the round cannot go on; what was answered is in the journal."""
        requests = self._readable(requests)
        self._meter.asking()
        if self._asking.in_batches:
            self._ask_in_batches(requests)
        else:
            asyncio.run(self._ask_live(requests))

    def _readable(self, requests: Iterator[Request]) -> Iterator[Request]:
        """The requests whose prompts the model reads as they are written; the others fail without being sent.

        A server makes a real token of a special token's text: ``<|im_end|>`` in a question would end it.
        """
        special = sorted(self._asking.model.special_texts(), key=lambda text: (-len(text), text))
        if not special:
            yield from requests
            return
        pattern = re.compile("|".join(map(re.escape, special)))
        for request in requests:
            found = next(filter(None, (pattern.search(message["content"]) for message in request.messages)), None)
            if found is None:
                yield request
            else:
                self._answered(
                    request, Answer(None, error=f"the prompt holds {found[0]}, a special token of the model")
                )

    def _answered(self, request: Request, answer: Answer) -> None:
        usd = self._asking.cost(answer)
        self._store.append(
            {
                "key": request.key,
                "model_id": self._asking.model_id,
                "model": self._asking.model.name,
                "question_id": request.question_id,
                "sample": request.sample,
                "seed": request.seed,
                "text": answer.text,
                "reasoning": answer.reasoning,
                "finish_reason": answer.finish_reason,
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "error": answer.error,
                "usd": usd,
                "request": dumps({**self._about, "messages": digest(request.messages)}),
                "response": dumps(answer.response),
                "answered_at": time.time_ns() // 1000,
            }
        )
        self._meter.answered(answer.prompt_tokens or 0, answer.completion_tokens or 0)
        self._progress.add(answer.error is not None, answer.completion_tokens or 0, usd)

    async def _ask_live(self, requests: Iterator[Request]) -> None:
        stopping, ending = asyncio.Event(), asyncio.Event()
        with _stopped_by_signals(stopping), paying(self._asking, self._store) as spending:
            client = Client(
                self._endpoint,
                self._settings,
                self._asking.limits,
                local=self._asking.model.local,
                proven=self._proven,
                failure=self._endpoint.failure,
                spending=spending,
                embeds=self._asking.embeds,
                form=self._asking.model.request_form(),
            )
            async with client:
                folding = asyncio.create_task(self._fold_often(ending))
                sharing = asyncio.create_task(self._share_limits(client, ending))
                metering = asyncio.create_task(self._stop_at_gpu_budget(stopping))
                asked = asyncio.create_task(client.run(requests, self._answered, stopping, self._asking.grace))
                try:
                    await asyncio.wait([asked, folding], return_when=asyncio.FIRST_COMPLETED)
                    if folding.done():  # it failed: the disk is full
                        asked.cancel()
                        await asyncio.gather(asked, return_exceptions=True)
                        await folding
                    with self._told_why_it_ended():
                        await asked
                finally:
                    ending.set()
                    metering.cancel()
                    await asyncio.gather(folding, sharing, metering, return_exceptions=True)
                await folding  # where it failed at the very end, what it was to fold would be asked for again
        self._store.fold()

    async def _stop_at_gpu_budget(self, stopping: asyncio.Event) -> None:
        """Stop asking where the GPU-hours are used up."""
        while not self._meter.is_used_up:
            await asyncio.sleep(METER_SECONDS)
        log.info("the GPU-hours are used up: finishing what is in flight")
        stopping.set()

    @contextlib.contextmanager
    def _told_why_it_ended(self) -> Iterator[None]:
        try:
            yield
        except FatalError as error:
            if self._meter.is_used_up:
                raise FatalError(self._meter.exhausted()) from error
            raise

    async def _fold_often(self, ending: asyncio.Event) -> None:
        """Fold the journal every ``FOLD_SECONDS``; one segment after the other, none of them left halfway."""
        last = time.monotonic()
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), 1.0)
            early = time.monotonic() - last < FOLD_SECONDS and self._store.unfolded_bytes < FOLD_BYTES
            if early and not self._store.is_cut_off:
                continue
            last = time.monotonic()
            closed = self._store.rotate()
            if closed is not None:
                await asyncio.to_thread(self._store.commit_lines, *closed)

    async def _share_limits(self, client: Client, ending: asyncio.Event) -> None:
        """Divide the limits, which are an account's, by the clients of it that use this store now."""
        limits = self._asking.limits
        if not (limits.requests_per_minute or limits.tokens_per_minute):
            return
        account = [self._endpoint.base_url, self._asking.model.api_key_variable, self._endpoint.model_name]
        with self._store.sharing(digest(account)) as count:
            while not ending.is_set():
                client.share_limits(count())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ending.wait(), SHARE_SECONDS)

    def _ask_in_batches(self, requests: Iterator[Request]) -> None:
        asking = self._asking
        if asking.model.local:
            raise UserError(
                f"{asking.model.name} is not a hosted model; only hosted APIs have a batch mode. Set `mode: live`."
            )
        if asking.embeds:
            raise UserError(f"{asking.model.name} gives embeddings, which are asked for live: use mode live.")
        with _ended_by_signals(), paying(asking, self._store) as spending:
            batches = Batches(
                self._store,
                folder_of(self._store, asking.model_id),
                self._endpoint,
                asking.model.api_key_variable,
                self._settings,
                poll=asking.batch_poll,
                most_requests=asking.batch_requests,
                spending=spending,
                form=asking.model.request_form(),
            )
            batches.run(requests, self._answered)
            if batches.is_broke and not batches.ran and spending is not None:
                raise FatalError(spending.exhausted())
            if batches.failures and not self._progress.done:
                why = batches.failures[0]
                raise FatalError(f"the API refuses the batches ({why}): {remedy(why)}, then run again.")


class BudgetLimit:
    """Pays for requests out of a budget (``openthoughts.inference.client.SpendingLimit``)."""

    def __init__(self, budget: Budget, price: Price, asking: Asking) -> None:
        self._budget = budget
        self._price = price
        self._asking = asking

    def reserve(self, request: Request) -> float | None:
        """Set the most that a request can cost aside; None where that has to wait for what is in flight."""
        most = self._asking.sampling.max_tokens
        usd = worst_cost(self._price, request.messages, most, self._asking.in_batches)
        return usd if self._budget.take(usd) else None

    def owe(self, usd: float) -> None:
        """Set aside what a running batch can cost."""
        self._budget.commit(usd)

    def settle(self, reserved: float, answer: Answer | None) -> None:
        """A request is over, with an answer or without."""
        spent = self._asking.cost(answer) if answer is not None else None
        self._budget.settle(reserved, spent or 0.0)

    def exhausted(self) -> str:
        """One sentence about what is spent and what to do."""
        spent, cap = self._budget.spent(), self._budget.cap
        return (
            f"the budget of {cap:.2f} USD does not pay for another answer ({spent:.2f} are spent, "
            f"{max(0.0, cap - spent):.2f} left): raise `budget: usd` and run again for the rest."
        )


@contextlib.contextmanager
def paying(asking: Asking, store: Store) -> Iterator[BudgetLimit | None]:
    """What pays for the requests; None where there is no cap, or where a model of one's own GPUs costs no dollars.

    Raises ``UserError`` for a hosted model whose price, or whose longest answer, is not known.
    """
    if not asking.budget_usd or (asking.model.local and asking.price is None):
        yield None
        return
    if asking.price is None:
        raise UserError(f"a budget needs the price of {asking.model.name}: give it in the catalog (--price).")
    if not asking.model.request_form().has_limit:
        raise UserError(
            f"a budget needs the most tokens of an answer, which the request of {asking.model.name} omits: rename "
            "max_tokens instead, or set no budget."
        )
    with Budget(store, asking.budget_usd) as budget:
        try:
            yield BudgetLimit(budget, asking.price, asking)
        finally:
            store.fold()


@contextlib.contextmanager
def _stopped_by_signals(stopping: asyncio.Event) -> Iterator[None]:
    """A signal stops the asking; what is in flight may finish."""
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        log.info("%s: finishing what is in flight", number.name)
        stopping.set()

    former = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:
            loop.add_signal_handler(number, stop, number)
    except (ValueError, RuntimeError):  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, former[number])


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A signal ends the waiting for batches, which run on and are picked up by the next run."""

    def stop(number: int, _: FrameType | None) -> None:
        raise FatalError(f"{signal.Signals(number).name}: the batches run on, the next run picks them up.")

    try:
        former = {number: signal.signal(number, stop) for number in SIGNALS}
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def worst_cost(price: Price, messages: Messages, max_tokens: int, in_batch: bool = False) -> float:
    """The most that one request can cost: at most one token per byte, plus the chat template."""
    size = FORM_TOKENS + sum(len(message["content"].encode()) for message in messages)
    return price.of(size, max_tokens, in_batch)
