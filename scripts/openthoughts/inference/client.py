"""The client: asks an OpenAI-compatible server, live, many requests at a time, until each has its answer or never will.

What can pass is tried again (429, 500, 502, 503, 504, a cut connection, a timeout, a body that is no answer), with
growing pauses and jitter, or as long as the server's Retry-After says. What cannot pass becomes an answer without text
and with the reason (the prompt is too long, the content filter refuses), or ends the run in one sentence (the key is
wrong, the model is unknown, the server is gone).

A failure is handed out only once the server is known to answer others, so that an outage, or a setting that the
server never takes, fails the run and not its questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from openthoughts.inference.bodies import parse_answer, parse_embedding
from openthoughts.inference.endpoints import Endpoint, is_loopback, server_name
from openthoughts.inference.pace import Limits, Pace
from openthoughts.inference.protocol import (
    ATTEMPTS,
    TIMEOUT_ATTEMPTS,
    Answer,
    FatalError,
    PassingError,
    RefusedError,
    Request,
    duration,
    error_of,
    failed,
    judge_status,
    remedy,
)
from openthoughts.models.request_form import RequestForm
from openthoughts.store.budget import ExhaustedError

LONGEST_PAUSE = 60.0
PATIENCE_SECONDS = 3600.0
"""A server that only says 429 for so long ends the run."""
WATCH_SECONDS = 5.0
HELD_FAILURES = 16
"""So many failures without one success end the run."""
CONNECTIONS_PER_POOL = 16
"""httpcore looks through its whole pool for each request: many small pools are several times faster than a big one."""

log = logging.getLogger(__name__)


class SpendingLimit(Protocol):
    """Pays for requests: reserves the most one can cost, then settles what it did."""

    def reserve(self, request: Request) -> float | None:
        """Dollars set aside for a request; None where there are enough only once something in flight is settled.

        Raises ``ExhaustedError`` where nothing is in flight either.
        """

    def settle(self, reserved: float, answer: Answer | None) -> None:
        """A request is over, with an answer or without."""

    def exhausted(self) -> str:
        """One sentence about what is spent and what to do."""


class Client:
    """Asks one server under one set of settings; an asynchronous context manager."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Mapping[str, Any],
        limits: Limits,
        *,
        local: bool,
        proven: bool = False,
        failure: Callable[[], str | None] = lambda: None,
        spending: SpendingLimit | None = None,
        embeds: bool = False,
        form: RequestForm | None = None,
    ) -> None:
        """``settings`` is the body of every request but for messages and seed; ``local`` tells a server of the
        workflow's own from a hosted one; ``proven`` says that this server's model has answered under these settings
        before; ``failure`` says why the server is dead, None while it lives;
        ``spending`` pays for the answers; ``embeds`` asks for embeddings (the texts of answers are base64 then);
        ``form`` is what the server wants otherwise in a body."""
        self._endpoint = endpoint
        self._settings = {"model": endpoint.model_name, **settings}
        self._limits = limits
        self._local = local
        self._proven = proven
        self._failure = failure
        self._spending = spending
        self._embeds = embeds
        self._form = form or RequestForm()
        self._paid = asyncio.Event()
        self._is_broke = False
        self._requests = Pace(limits.requests_per_minute)
        self._tokens = Pace(limits.tokens_per_minute)
        self._paused_until = 0.0
        self._last_success = time.monotonic()
        self._held: list[tuple[Request, Answer, bool]] = []
        self._random = random.Random()
        self._pools: list[Any] = []

    def share_limits(self, clients: int) -> None:
        """Keep to this client's part of limits that so many clients share."""
        self._requests.change(self._limits.requests_per_minute / clients)
        self._tokens.change(self._limits.tokens_per_minute / clients)

    async def __aenter__(self) -> Client:
        import httpx2
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it writes a line for every request
        pools = max(1, -(-self._limits.concurrency // CONNECTIONS_PER_POOL))
        connections = httpx2.Limits(
            max_connections=CONNECTIONS_PER_POOL, max_keepalive_connections=CONNECTIONS_PER_POOL
        )
        loopback = is_loopback(self._endpoint.base_url)
        timeout = httpx2.Timeout(self._limits.timeout, connect=30.0, pool=None)
        self._pools = [
            AsyncOpenAI(
                base_url=self._endpoint.base_url,
                api_key=self._endpoint.api_key,
                max_retries=0,
                timeout=timeout,
                http_client=DefaultAsyncHttpxClient(limits=connections, timeout=timeout, trust_env=not loopback),
            )
            for _ in range(pools)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for pool in self._pools:
            await pool.close()

    async def run(
        self,
        requests: Iterator[Request],
        answered: Callable[[Request, Answer], None],
        stopping: asyncio.Event,
        grace: float,
    ) -> None:
        """Ask everything that ``requests`` yields and hand each answer to ``answered`` as it comes.

        Once ``stopping`` is set nothing more is asked, what is in flight has ``grace`` seconds to finish, and the run
        ends with ``FatalError``. Raises ``FatalError`` as soon as the run cannot go on.
        """
        workers = [
            asyncio.create_task(self._work(requests, answered, stopping, self._pools[index % len(self._pools)]))
            for index in range(self._limits.concurrency)
        ]
        watch = asyncio.create_task(self._watch(stopping))
        everyone: asyncio.Future[list[None]] = asyncio.gather(*workers)
        try:
            waiting: list[asyncio.Future[Any]] = [everyone, watch]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if stopping.is_set() and not everyone.done():
                await asyncio.wait([everyone], timeout=grace)
            if everyone.done():
                await everyone
            elif watch.done():
                await watch
        finally:
            watch.cancel()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, watch, everyone, return_exceptions=True)
        if stopping.is_set():
            raise FatalError("stopped before everything was asked: what was answered is kept, run again for the rest.")
        await self._settle(answered)
        if self._is_broke and self._spending is not None:
            raise FatalError(self._spending.exhausted())

    async def ask_once(self, request: Request) -> Answer:
        """One attempt at one request. Raises ``PassingError``, ``RefusedError`` or ``FatalError``."""
        return await self._post(self._pools[0], self._body(request))

    async def _watch(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), WATCH_SECONDS)
            await self._check_there()

    async def _work(
        self,
        requests: Iterator[Request],
        answered: Callable[[Request, Answer], None],
        stopping: asyncio.Event,
        pool: Any,
    ) -> None:
        for request in requests:
            if stopping.is_set() or self._is_broke:
                return
            try:
                answer = await self._ask_and_pay(request, pool, stopping)
            except ExhaustedError:
                return
            except RefusedError as error:
                self._fail(request, error, error.is_about_the_question, answered, general=True)
                continue
            except PassingError as error:
                self._fail(request, error, False, answered, general=False)
                continue
            self._last_success = time.monotonic()
            self._proven = True
            answered(request, answer)
            for held, failure, _ in self._held:
                answered(held, failure)
            self._held.clear()

    def _fail(
        self,
        request: Request,
        error: RefusedError | PassingError,
        certain: bool,
        answered: Callable[[Request, Answer], None],
        general: bool,
    ) -> None:
        answer = failed(error)
        if certain or (general and self._proven):
            answered(request, answer)
            return
        self._held.append((request, answer, general))
        if len(self._held) >= HELD_FAILURES:
            raise FatalError(self._nothing_works(str(error)))

    async def _settle(self, answered: Callable[[Request, Answer], None]) -> None:
        """Decide about failures that no success followed: they stand if the server still is there."""
        if not self._held:
            return
        _, answer, general = self._held[0]
        if general and not self._proven:
            raise FatalError(self._nothing_works(str(answer.error)))
        try:
            await self._pools[0].models.list(timeout=30.0)
        except Exception as error:
            raise FatalError(self._nothing_works(str(answer.error))) from error
        for request, failure, _ in self._held:
            answered(request, failure)
        self._held.clear()

    def _nothing_works(self, reason: str) -> str:
        return f"{self._name()} answers nothing ({reason}): {remedy(reason)}, then run again."

    def _name(self) -> str:
        return server_name(self._endpoint)

    async def _ask_and_pay(self, request: Request, pool: Any, stopping: asyncio.Event) -> Answer:
        if self._spending is None:
            return await self._ask(request, pool)
        reserved = await self._reserve(request, self._spending, stopping)
        answer = None
        try:
            answer = await self._ask(request, pool)
            return answer
        except (PassingError, RefusedError) as error:
            answer = error.answer
            raise
        finally:
            self._spending.settle(reserved, answer)
            self._paid.set()

    async def _reserve(self, request: Request, spending: SpendingLimit, stopping: asyncio.Event) -> float:
        """Dollars set aside for a request. Raises ``ExhaustedError`` where there are not enough, or it is too late."""
        while not (self._is_broke or stopping.is_set()):
            self._paid.clear()
            try:
                reserved = await asyncio.to_thread(spending.reserve, request)
            except ExhaustedError:
                self._is_broke = True
                break
            if reserved is None:
                await self._paid.wait()  # what is in flight costs less than was set aside for it
            elif stopping.is_set():
                spending.settle(reserved, None)
            else:
                return reserved
        self._paid.set()
        raise ExhaustedError

    async def _ask(self, request: Request, pool: Any) -> Answer:
        """One request's answer. Raises ``RefusedError``, or ``PassingError`` when all attempts are used up."""
        body = self._body(request)
        estimate = sum(len(message["content"]) for message in request.messages) / 4 + self._expected_tokens()
        attempt = 1
        paid: list[Answer] = []
        while True:
            await self._wait_for_turn(estimate)
            try:
                answer = await self._post(pool, body)
            except PassingError as error:
                self._tokens.give_back(estimate)
                if attempt >= error.attempts and not error.is_limit:
                    return error.in_the_end(paid, attempt)
                paid += [error.answer] if error.answer else []
                pause = self._pause_after(error, attempt)
                attempt += not error.is_limit
                await asyncio.sleep(pause)
            except RefusedError as error:
                if self._local and "max_tokens" in body and re.search(r"max_(completion_)?tokens|length", str(error)):
                    body.pop("max_tokens")  # let the server cut the answer where the model's length ends
                    continue
                error.answer = (error.answer or Answer(None)).paid_with(paid)
                raise
            else:
                used = (answer.prompt_tokens or 0) + (answer.completion_tokens or 0)
                self._tokens.give_back(estimate - used)
                return answer.paid_with(paid)

    def _body(self, request: Request) -> dict[str, Any]:
        """What is asked, before it is brought into the model's form."""
        if self._embeds:
            return {**self._settings, "input": request.messages[-1]["content"]}
        return {**self._settings, "messages": request.messages, "seed": request.seed}

    def _expected_tokens(self) -> float:
        return float(self._settings.get("max_tokens") or self._settings.get("max_completion_tokens") or 0)

    async def _wait_for_turn(self, tokens: float) -> None:
        await self._requests.take(1)
        await self._tokens.take(tokens)
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left * (1 + 0.1 * self._random.random()))

    def _pause_after(self, error: PassingError, attempt: int) -> float:
        if error.is_limit:
            patience = self._last_success + PATIENCE_SECONDS - time.monotonic()
            if patience < 0:
                asked = f", and asks to wait {error.after:.0f} s" if error.after else ""
                raise FatalError(self._nothing_works(f"{error}{asked}")) from error
            pause = error.after if error.after is not None else self._limits.pause * (1 + self._random.random())
            self._paused_until = max(self._paused_until, time.monotonic() + min(pause, patience))
            return min(pause, patience)
        if error.after is not None:
            return min(error.after, PATIENCE_SECONDS / ATTEMPTS)  # all attempts together wait for the patience at most
        return min(LONGEST_PAUSE, self._limits.pause * 2.0 ** (attempt - 1)) * (0.5 + self._random.random())

    async def _post(self, pool: Any, body: dict[str, Any]) -> Answer:
        import httpx2
        import openai

        try:
            path = "/embeddings" if self._embeds else self._form.path
            response = await pool.post(path, cast_to=httpx2.Response, body=self._form.shape(body))
        except openai.APITimeoutError as error:
            raise PassingError(f"no answer within {self._limits.timeout:.0f} s", attempts=TIMEOUT_ATTEMPTS) from error
        except openai.APIConnectionError as error:
            await self._check_there()
            raise PassingError(f"the connection failed ({type(error.__cause__).__name__})") from error
        except openai.APIStatusError as error:
            raise self._judge(error) from error
        self._apply_rate_limit_headers(response.headers)
        return parse_embedding(response.content) if self._embeds else parse_answer(response.content)

    async def _check_there(self) -> None:
        """End the run where a local server takes no connections any more."""
        if not self._local:
            return
        address = urlsplit(self._endpoint.base_url)
        for _ in range(3):
            try:
                _, writer = await asyncio.open_connection(address.hostname, address.port)
            except OSError:
                await asyncio.sleep(0.5)
            else:
                writer.close()
                return
        reason = await asyncio.to_thread(self._failure) or f"{self._name()} is gone"
        raise FatalError(f"{reason.rstrip('.')}; what was answered is kept, run again for the rest.")

    def _judge(self, error: Any) -> Exception:
        """What an HTTP status means: PassingError, RefusedError or FatalError."""
        code, message = error_of(error)
        return judge_status(
            error.status_code, code, self._without_key(message), error.response.headers, name=self._name()
        )

    def _without_key(self, message: str) -> str:
        key = self._endpoint.api_key
        return message.replace(key, "***") if key else message

    def _apply_rate_limit_headers(self, headers: Mapping[str, str]) -> None:
        """Pause when the server says that the limit is reached: before it has to refuse."""
        if headers.get("x-ratelimit-remaining-requests") == "0":
            reset = duration(headers.get("x-ratelimit-reset-requests", ""))
            if reset:
                self._paused_until = max(self._paused_until, time.monotonic() + min(reset, LONGEST_PAUSE))
