"""The client: asks an OpenAI-compatible server, live, many requests at a time, until each has its answer or never will.

What can pass is tried again (429, 500, 502, 503, 504, a cut connection, a timeout, a body that is no answer), with
growing pauses and jitter, or as long as the server's Retry-After says. What cannot pass becomes an answer without text
and with the reason (the prompt is too long, the content filter refuses), or ends the run in one sentence (the key is
wrong, the model is unknown, the server is gone).

A failure is handed out only once the server is known to answer others, so that an outage, or a setting that the
server never takes, fails the run and not its questions.
"""

from __future__ import annotations

import array
import asyncio
import base64
import contextlib
import json
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from openthoughts.base.cli import UserError
from openthoughts.inference.prompts import Messages
from openthoughts.inference.server import is_loopback
from openthoughts.store.budget import ExhaustedError

ATTEMPTS = 8
TIMEOUT_ATTEMPTS = 2
LONGEST_PAUSE = 60.0
PATIENCE_SECONDS = 3600.0
"""A server that only says 429 for so long ends the run."""
WATCH_SECONDS = 5.0
HELD_FAILURES = 16
"""So many failures without one success end the run."""
CONNECTIONS_PER_POOL = 16
"""httpcore looks through its whole pool for each request: many small pools are several times faster than a big one."""

log = logging.getLogger(__name__)


class Endpoint(Protocol):
    """Where a model is served."""

    @property
    def base_url(self) -> str: ...
    @property
    def api_key(self) -> str: ...
    @property
    def model_name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that is wanted."""

    key: str
    question_id: str
    sample: int
    seed: int
    messages: Messages


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: a text, or the reason why there is none."""

    text: str | None
    reasoning: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    response: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How fast one client may ask; 0 is no limit."""

    concurrency: int = 32
    requests_per_minute: float = 0
    tokens_per_minute: float = 0
    timeout: float = 3600.0
    pause: float = 1.0
    """The first pause before another attempt, in seconds; it doubles with each."""


class Purse(Protocol):
    """Pays for requests: reserves the most one can cost, then settles what it did."""

    def reserve(self, request: Request) -> float | None:
        """Dollars set aside for a request; None where there are enough only once something in flight is settled.

        Raises ``ExhaustedError`` where nothing is in flight either.
        """

    def settle(self, reserved: float, answer: Answer | None) -> None:
        """A request is over, with an answer or without."""

    def exhausted(self) -> str:
        """One sentence about what is spent and what to do."""


class FatalError(UserError):
    """The run cannot go on: the key, the model or the server is at fault, or the user stopped it."""


class PassingError(Exception):
    """An attempt that may go better another time."""

    def __init__(self, reason: str, after: float | None = None, is_timeout: bool = False, is_limit: bool = False):
        super().__init__(reason)
        self.after = after
        self.is_timeout = is_timeout
        self.is_limit = is_limit


class RefusedError(Exception):
    """A request that this server will never answer."""

    def __init__(self, reason: str, is_about_the_question: bool) -> None:
        super().__init__(reason)
        self.is_about_the_question = is_about_the_question


class Pace:
    """A bucket that fills at ``per_minute`` and holds at most ``burst_seconds`` worth of it."""

    def __init__(self, per_minute: float, burst_seconds: float = 2.0) -> None:
        self._burst_seconds = burst_seconds
        self._level = self._rate = self._burst = 0.0
        self._filled = time.monotonic()
        self.change(per_minute)
        self._level = self._burst

    def change(self, per_minute: float) -> None:
        """Fill at another rate from now on; 0 is no limit."""
        self._fill()
        self._rate = per_minute / 60.0
        self._burst = max(self._rate * self._burst_seconds, 1.0)

    def _fill(self) -> None:
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._filled) * self._rate)
        self._filled = now

    async def take(self, amount: float) -> None:
        """Wait until ``amount`` may be spent, in the order of asking; large amounts go into debt."""
        if not self._rate:
            return
        self._fill()
        self._level -= amount
        if self._level < 0:
            await asyncio.sleep(-self._level / self._rate)

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used (negative: was used beyond)."""
        self._level += amount


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
        purse: Purse | None = None,
        embeds: bool = False,
    ) -> None:
        """``settings`` is the body of every request but for messages and seed; ``local`` tells a server of the
        workflow's own from a hosted one; ``proven`` says that this server's model has answered under these settings
        before; ``failure`` says why the server is dead, None while it lives;
        ``purse`` pays for the answers; ``embeds`` asks for embeddings (the texts of answers are base64 then)."""
        self._endpoint = endpoint
        self._settings = {"model": endpoint.model_name, **settings}
        self._limits = limits
        self._local = local
        self._proven = proven
        self._failure = failure
        self._purse = purse
        self._embeds = embeds
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
        if self._is_broke and self._purse is not None:
            raise FatalError(self._purse.exhausted())

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
                self._fail(request, str(error), error.is_about_the_question, answered, general=True)
                continue
            except PassingError as error:
                self._fail(request, str(error), False, answered, general=False)
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
        reason: str,
        certain: bool,
        answered: Callable[[Request, Answer], None],
        general: bool,
    ) -> None:
        answer = Answer(text=None, error=reason)
        if certain or (general and self._proven):
            answered(request, answer)
            return
        self._held.append((request, answer, general))
        if len(self._held) >= HELD_FAILURES:
            raise FatalError(self._nothing_works(reason))

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
        return f"{self._name()} answers nothing that it is asked ({reason}): see to it, then run again."

    def _name(self) -> str:
        return f"the server of {self._endpoint.model_name} at {self._endpoint.base_url}"

    async def _ask_and_pay(self, request: Request, pool: Any, stopping: asyncio.Event) -> Answer:
        if self._purse is None:
            return await self._ask(request, pool)
        reserved = await self._reserve(request, self._purse, stopping)
        answer = None
        try:
            answer = await self._ask(request, pool)
            return answer
        finally:
            self._purse.settle(reserved, answer)
            self._paid.set()

    async def _reserve(self, request: Request, purse: Purse, stopping: asyncio.Event) -> float:
        """Dollars set aside for a request. Raises ``ExhaustedError`` where there are not enough, or it is too late."""
        while not (self._is_broke or stopping.is_set()):
            self._paid.clear()
            try:
                reserved = await asyncio.to_thread(purse.reserve, request)
            except ExhaustedError:
                self._is_broke = True
                break
            if reserved is None:
                await self._paid.wait()  # what is in flight costs less than was set aside for it
            elif stopping.is_set():
                purse.settle(reserved, None)
            else:
                return reserved
        self._paid.set()
        raise ExhaustedError

    async def _ask(self, request: Request, pool: Any) -> Answer:
        """One request's answer. Raises ``RefusedError``, or ``PassingError`` when all attempts are used up."""
        body = {**self._settings, "messages": request.messages, "seed": request.seed}
        if self._embeds:
            body = {**self._settings, "input": request.messages[-1]["content"]}
        estimate = sum(len(message["content"]) for message in request.messages) / 4 + self._expected_tokens()
        attempt = 1
        while True:
            await self._wait_for_turn(estimate)
            try:
                answer = await self._post(pool, body)
            except PassingError as error:
                self._tokens.give_back(estimate)
                pause = self._pause_after(error, attempt)
                attempt += not error.is_limit
                await asyncio.sleep(pause)
            except RefusedError as error:
                if self._local and "max_tokens" in body and re.search(r"max_(completion_)?tokens|length", str(error)):
                    body.pop("max_tokens")  # let the server cut the answer where the model's length ends
                    continue
                raise
            else:
                used = (answer.prompt_tokens or 0) + (answer.completion_tokens or 0)
                self._tokens.give_back(estimate - used)
                return answer

    def _expected_tokens(self) -> float:
        return float(self._settings.get("max_tokens") or self._settings.get("max_completion_tokens") or 0)

    async def _wait_for_turn(self, tokens: float) -> None:
        await self._requests.take(1)
        await self._tokens.take(tokens)
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left * (1 + 0.1 * self._random.random()))

    def _pause_after(self, error: PassingError, attempt: int) -> float:
        if error.is_limit:
            if time.monotonic() - self._last_success > PATIENCE_SECONDS:
                raise FatalError(self._nothing_works(str(error))) from error
            pause = error.after if error.after is not None else self._limits.pause * (1 + self._random.random())
            self._paused_until = max(self._paused_until, time.monotonic() + pause)
            return pause
        if attempt >= (TIMEOUT_ATTEMPTS if error.is_timeout else ATTEMPTS):
            raise PassingError(f"{error}, {attempt} times") from error
        if error.after is not None:
            return error.after
        return min(LONGEST_PAUSE, self._limits.pause * 2.0 ** (attempt - 1)) * (0.5 + self._random.random())

    async def _post(self, pool: Any, body: dict[str, Any]) -> Answer:
        import httpx2
        import openai

        try:
            path = "/embeddings" if self._embeds else "/chat/completions"
            response = await pool.post(path, cast_to=httpx2.Response, body=body)
        except openai.APITimeoutError as error:
            raise PassingError(f"no answer within {self._limits.timeout:.0f} s", is_timeout=True) from error
        except openai.APIConnectionError as error:
            await self._check_there()
            raise PassingError(f"the connection failed ({type(error.__cause__).__name__})") from error
        except openai.APIStatusError as error:
            raise self._judge(error) from error
        self._heed(response.headers)
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
        code, message = _error_of(error)
        return judge_status(
            error.status_code, code, self._without_key(message), error.response.headers, name=self._name()
        )

    def _without_key(self, message: str) -> str:
        key = self._endpoint.api_key
        return message.replace(key, "***") if key else message

    def _heed(self, headers: Mapping[str, str]) -> None:
        """Pause when the server says that the limit is reached: before it has to refuse."""
        if headers.get("x-ratelimit-remaining-requests") == "0":
            reset = duration(headers.get("x-ratelimit-reset-requests", ""))
            if reset:
                self._paused_until = max(self._paused_until, time.monotonic() + min(reset, LONGEST_PAUSE))


def judge_status(
    status: int, code: str | None, message: str, headers: Mapping[str, str], name: str = "the server"
) -> PassingError | RefusedError | FatalError:
    """What an HTTP status other than 200 means for a request, or for the whole run."""
    if status == 429 and code not in ("insufficient_quota", "billing_hard_limit_reached"):
        return PassingError(f"{status}: {message}", after=retry_after(headers), is_limit=True)
    if status in (408, 409) or status >= 500:
        return PassingError(f"{status}: {message}", after=retry_after(headers))
    if status in (401, 403):
        return FatalError(f"{name} refuses the key ({status}: {message}): set the right one and run again.")
    if status == 404:
        return FatalError(f"{name} does not know the model ({status}: {message}): check its entry.")
    if status == 429:
        return FatalError(f"the account of {name} is used up ({message}): add credit, then run again.")
    return RefusedError(f"refused ({status}: {message})", _is_about_the_question(code, message))


def _error_of(error: Any) -> tuple[str | None, str]:
    body = error.body if isinstance(error.body, dict) else {}
    message = body.get("message") or error.response.text or error.message
    return body.get("code"), " ".join(str(message).split())[:300]


_CODES_OF_QUESTIONS = {
    "context_length_exceeded",
    "content_filter",
    "content_policy_violation",
    "string_above_max_length",
}
_TOO_LONG = re.compile(r"context length|max_model_len|longer than the maximum|too many (input )?tokens", re.IGNORECASE)
_FILTERED = re.compile(r"content[ _](management )?(filter|policy)|flagged|safety", re.IGNORECASE)


def _is_about_the_question(code: str | None, message: str) -> bool:
    """Whether a refusal is for what this question is, not for settings that all requests share."""
    return code in _CODES_OF_QUESTIONS or bool(_TOO_LONG.search(message) or _FILTERED.search(message))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response's Retry-After (or retry-after-ms) asks to wait; None without one."""
    milliseconds = headers.get("retry-after-ms")
    value = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        return None if value is None else max(0.0, float(value))
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time())
        except ValueError:
            return None


def duration(text: str) -> float:
    """Seconds of a span as rate headers write it: ``1m30s``, ``20ms``, ``2``."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s|)", text))


def parse_answer(content: bytes) -> Answer:
    """The answer in a response's body. Raises ``PassingError`` where the body is none."""
    try:
        return read_completion(json.loads(content))
    except ValueError as error:
        raise PassingError(f"the response is no JSON ({_clean(content[:80].decode(errors='replace'))})") from error


def parse_embedding(content: bytes) -> Answer:
    """The embedding in a response's body, as base64 of its float32 numbers. ``PassingError`` where there is none."""
    try:
        body = json.loads(content)
        found = body["data"][0]["embedding"]
        text = found if isinstance(found, str) else base64.b64encode(array.array("f", found).tobytes()).decode()
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise PassingError(f"the response is no embedding ({_clean(content[:80].decode(errors='replace'))})") from error
    tokens = (body.get("usage") or {}).get("prompt_tokens")
    about = {name: body[name] for name in ("model", "usage") if body.get(name) is not None}
    return Answer(text=text, finish_reason="stop", prompt_tokens=tokens, completion_tokens=0, response=about)


def read_completion(body: Any) -> Answer:
    """The answer in a completion. Raises ``PassingError`` where it is none."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError) as error:
        raise PassingError(f"the response is no completion ({str(body)[:80]})") from error
    usage = body.get("usage") or {}
    finish = choice.get("finish_reason")
    refusal = None
    if finish in ("abort", "error"):
        raise PassingError(f"the server broke off ({finish})")
    text = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if finish == "content_filter":
        refusal = "refused by the content filter"
    elif text is None and message.get("refusal"):
        refusal = f"refused by the model: {_clean(message['refusal'])[:300]}"
    return Answer(
        text=None if refusal else _clean(text or ""),
        reasoning=_clean(reasoning) if isinstance(reasoning, str) and not refusal else None,
        finish_reason=None if refusal else finish,
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        error=refusal,
        response={
            name: body[name] for name in ("id", "model", "system_fingerprint", "usage") if body.get(name) is not None
        },
    )


def _clean(text: str) -> str:
    """Valid Unicode: lone surrogates become U+FFFD."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
