"""The Batch API: many requests in a file, answered within a day, at a lower price.

What a batch was asked is kept beside the store before it is submitted, and its id as soon as there is one, so that a
client that was killed, or its successor, picks the running batch up instead of paying for another. What a batch did
not answer (it expired, failed or was cancelled) stays missing and is asked for again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from openthoughts.base.tables import write_text
from openthoughts.inference.batch_files import Batch, kept, outcomes, refusal_of_all
from openthoughts.inference.client import SpendingLimit
from openthoughts.inference.endpoints import Endpoint, server_name
from openthoughts.inference.protocol import (
    Answer,
    FatalError,
    PassingError,
    Request,
    UsedUpError,
    error_of,
    failed,
    is_used_up,
    judge_status,
    remedy,
)
from openthoughts.models.request_form import RequestForm
from openthoughts.store.budget import ExhaustedError
from openthoughts.store.store import Store

if TYPE_CHECKING:
    from openai import OpenAI

MOST_REQUESTS = 50_000
MOST_BYTES = 190 * 10**6
"""The API takes files of 200 MB."""
LISTED_SECONDS = 60.0
"""How long a batch that was perhaps created is looked for: the API may list it later than it takes it."""
LISTED_PAUSE = 5.0
CREATE_ATTEMPTS = 4
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

log = logging.getLogger(__name__)

Url = Literal["/v1/chat/completions", "/v1/responses"]
"""What a batch asks, in each line and as a whole."""

Answered = Callable[[Request, Answer], None]


class BatchSpendingLimit(SpendingLimit, Protocol):
    """Pays for batches, also for those that run already."""

    def owe(self, usd: float) -> None:
        """Set aside what a running batch can cost."""


class Batches:
    """One round of asking in batches: those that run already, and new ones for what they do not cover."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        endpoint: Endpoint,
        api_key_variable: str | None,
        settings: Mapping[str, Any],
        *,
        poll: float = 60.0,
        most_requests: int = MOST_REQUESTS,
        spending: BatchSpendingLimit | None = None,
        form: RequestForm | None = None,
    ) -> None:
        """``settings`` is the body of every request but for messages and seed; ``spending`` pays for the answers."""
        from openai import OpenAI

        self._store = store
        self._folder = folder
        self._endpoint = endpoint
        self._variable = api_key_variable
        self._settings = {"model": endpoint.model_name, **settings}
        self._poll = poll
        self._most = most_requests
        self._spending = spending
        self._form = form or RequestForm()
        self._url: Url = "/v1/responses" if self._form.api == "responses" else "/v1/chat/completions"
        self._api = OpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=8, timeout=600.0)
        self.is_broke = False
        """Whether money was short of what was wanted."""
        self.ran = 0
        """Batches that this round waited for."""
        self.failures: list[str] = []
        """Why batches failed as a whole."""

    def run(self, requests: Iterator[Request], answered: Answered) -> None:
        """Submit what no running batch covers, wait until all have ended, and hand over their answers.

        Raises ``FatalError`` where the API takes no batch, or refuses every request of one.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as leases, self._api, _one_sentence(self._endpoint):
            mine = self._resume(leases)
            covered = {key for batch in kept(self._folder) for key in batch.wanted(self._folder)}
            # What another process has read since the store was looked at is covered no more: it was stored before its
            # batch was forgotten, so the requests, which are looked up only as they are gone through, leave it out.
            self._store.refresh()
            elsewhere = False

            def uncovered() -> Iterator[Request]:
                nonlocal elsewhere
                for request in requests:
                    if request.key in covered:
                        elsewhere = True
                    else:
                        yield request

            mine += [self._submit(part, leases) for part in self._parts(uncovered())]
            while elsewhere and not mine and kept(self._folder):
                time.sleep(self._poll)  # another process waits for what is left, or did until it died
                mine = self._resume(leases)
            self.ran = len(mine)
            while mine:
                mine = [batch for batch in mine if not self._harvest(batch, answered)]
                if mine:
                    time.sleep(self._poll)

    def _resume(self, leases: contextlib.ExitStack) -> list[Batch]:
        """The batches that a dead process left; from now on they are this one's."""
        mine = []
        for seen in kept(self._folder):
            if leases.enter_context(self._store.lease(f"batch-{seen.token}", wait=0)):
                batch = self._take_over(seen.token)
                if batch is not None:
                    mine.append(batch)
        return mine

    def _take_over(self, token: str) -> Batch | None:
        """Go on with a batch whose lease this process has; None where there is nothing to wait for."""
        batch = Batch.read(self._folder / f"{token}.json")
        if batch is None:  # who held the lease has read it since
            return None
        if batch.batch_id is None:
            batch = replace(batch, batch_id=self._find(token))
        if batch.batch_id is None or not self._has_answers_to_read(batch):
            batch.remove(self._folder)
            return None
        if self._spending is not None:
            self._spending.owe(batch.reserved_usd)  # counted twice until the batch names its new writer, but never not
        batch = replace(batch, writer=self._store.writer)
        batch.write(self._folder)
        log.info("going on with batch %s of %d requests", batch.batch_id, batch.requests)
        return batch

    def _has_answers_to_read(self, batch: Batch) -> bool:
        """Whether a batch has its requests, without which no answer can be stored.

        They go last, so one without them that has ended was read. Raises ``FatalError`` where it runs still.
        """
        import openai

        if batch.has_requests(self._folder):
            return True
        assert batch.batch_id is not None
        with contextlib.suppress(openai.NotFoundError):
            status = self._api.batches.retrieve(batch.batch_id).status
            if status not in ENDED:
                raise FatalError(
                    f"batch {batch.batch_id} is {status}, but {self._folder / batch.token}.jsonl, without which its "
                    "answers cannot be stored, is gone: put it back, or end the batch with `store.py batches --cancel` "
                    "and run again once it has ended."
                )
        log.warning("the requests of batch %s are gone, so its answers are stored: forgetting it", batch.batch_id)
        return False

    def _find(self, token: str) -> str | None:
        """The id of the batch created for a token, but never recorded; None once it would have been listed."""
        deadline = time.monotonic() + LISTED_SECONDS
        while (found := listed(self._api, token)) is None and time.monotonic() < deadline:
            time.sleep(min(self._poll, LISTED_PAUSE))
        return found

    def _parts(self, requests: Iterator[Request]) -> Iterator[tuple[list[Request], float]]:
        """Cut requests into what one file may hold, as long as there is money; with the dollars set aside."""
        part: list[Request] = []
        size, usd = 0, 0.0
        for request in requests:
            line = len(self._line(request)) + 1
            if part and (len(part) == self._most or size + line > MOST_BYTES):
                yield part, usd
                part, size, usd = [], 0, 0.0
            reserved = self._reserve(request)
            if reserved is None:
                self.is_broke = True
                break
            part.append(request)
            size, usd = size + line, usd + reserved
        if part:
            yield part, usd

    def _reserve(self, request: Request) -> float | None:
        """Dollars set aside for a request; None where there are not enough."""
        if self._spending is None:
            return 0.0
        try:
            return self._spending.reserve(request)
        except ExhaustedError:
            return None

    def _line(self, request: Request) -> bytes:
        body = self._form.shape({**self._settings, "messages": request.messages, "seed": request.seed})
        line = {"custom_id": request.key, "method": "POST", "url": self._url, "body": body}
        return json.dumps(line, ensure_ascii=False).encode()

    def _submit(self, part: tuple[list[Request], float], leases: contextlib.ExitStack) -> Batch:
        requests, usd = part
        token = uuid.uuid4().hex
        leases.enter_context(self._store.lease(f"batch-{token}", wait=0))
        write_text("".join(json.dumps(asdict(request)) + "\n" for request in requests), self._folder / f"{token}.jsonl")
        batch = Batch(
            token=token,
            model=self._endpoint.model_name,
            base_url=self._endpoint.base_url,
            api_key_variable=self._variable,
            requests=len(requests),
            reserved_usd=usd,
            writer=self._store.writer,
        )
        batch.write(self._folder)
        try:
            content = b"\n".join(self._line(request) for request in requests) + b"\n"
            file = self._api.files.create(file=(f"{token}.jsonl", content), purpose="batch")
        except BaseException:  # nothing is created yet
            batch.remove(self._folder)
            raise
        batch = replace(batch, batch_id=self._create(batch, file.id))
        batch.write(self._folder)
        log.info("submitted batch %s of %d requests", batch.batch_id, batch.requests)
        return batch

    def _create(self, batch: Batch, file: str) -> str:
        """Have a batch created, once, and return its id.

        The API would create, and charge, another for each attempt: where its answer is lost the batch is looked for
        before the next. What may have been created stays on disk, for the next run to look for.
        """
        import openai

        once = self._api.with_options(max_retries=0)
        for _ in range(CREATE_ATTEMPTS):
            try:
                return once.batches.create(
                    input_file_id=file,
                    endpoint=self._url,
                    completion_window="24h",
                    metadata={"openthoughts": batch.token},
                ).id
            except (openai.APIError, ValueError, AttributeError) as error:  # the last two: the answer is no batch
                if _is_refused(error):
                    batch.remove(self._folder)
                    raise
                failure = error
            except BaseException:  # a signal
                self._note(batch)
                raise
            reason = _reason(self._endpoint, str(failure))
            log.warning("a batch was perhaps not created (%s): looking for it", reason)
            found = self._find(batch.token)
            if found is not None:
                return found
        batch.remove(self._folder)
        raise FatalError(_sentence(self._endpoint, reason)) from failure

    def _note(self, batch: Batch) -> None:
        """Write the id of a batch down if it is listed already, in the time that a signal leaves."""
        import openai

        with contextlib.suppress(openai.APIError):
            found = listed(self._api.with_options(max_retries=0, timeout=10.0), batch.token)
            replace(batch, batch_id=found).write(self._folder)

    def _harvest(self, batch: Batch, answered: Answered) -> bool:
        """Hand over the answers of a batch that has ended; whether it has."""
        assert batch.batch_id is not None
        state = self._api.batches.retrieve(batch.batch_id)
        counts = state.request_counts
        log.info("batch %s: %s%s", batch.batch_id, state.status, f", {counts.completed} answered" if counts else "")
        if state.status not in ENDED:
            return False
        wanted = batch.wanted(self._folder)
        self._store.adopt_orphans()
        self._store.refresh()
        for key in self._store.has(self._folder.name, list(wanted)):
            del wanted[key]
        results = [self._download(batch, name) for name in (state.output_file_id, state.error_file_id) if name]
        if state.status == "failed":
            reasons = [str(error.message) for error in (state.errors.data or [])] if state.errors else []
            self.failures.append("; ".join(reasons) or "no reason given")
            log.warning("batch %s failed: %s", batch.batch_id, self.failures[-1])
        refusal, used_up = refusal_of_all(results, wanted), None
        if refusal is None:
            for request, outcome in outcomes(results, wanted):
                if isinstance(outcome, UsedUpError):
                    used_up = outcome
                else:
                    answered(request, outcome if isinstance(outcome, Answer) else failed(outcome))
            self._store.fold()
        batch.remove(self._folder)
        for path in results:
            path.unlink(missing_ok=True)
        if refusal is not None:
            raise FatalError(
                f"{self._endpoint.base_url} refuses every request of a batch ({refusal}): {remedy(refusal)}."
            )
        if used_up is not None:
            raise used_up
        return True

    def _download(self, batch: Batch, name: str) -> Path:
        path = self._folder / f"{batch.token}.{name}.results"
        with self._api.files.with_streaming_response.content(name) as response:
            response.stream_to_file(path)
        return path


@contextlib.contextmanager
def _one_sentence(endpoint: Endpoint) -> Iterator[None]:
    """Turn what the API raises into one sentence without the key."""
    import openai

    try:
        yield
    except openai.APIError as error:
        if isinstance(error, openai.APIStatusError):
            code, message = error_of(error)
            if is_used_up(error.status_code, code, message):
                raise UsedUpError(server_name(endpoint), _reason(endpoint, message)) from error
        raise FatalError(_sentence(endpoint, str(error.message))) from error


def _sentence(endpoint: Endpoint, reason: str) -> str:
    """What fails and what to do."""
    return f"the Batch API at {endpoint.base_url} fails ({_reason(endpoint, reason)}): fix the cause, then run again."


def _reason(endpoint: Endpoint, text: str) -> str:
    """An error's message on one line, without the key."""
    text = " ".join(text.split())[:300]
    return text.replace(endpoint.api_key, "***") if endpoint.api_key else text


def _is_refused(error: Exception) -> bool:
    """Whether the API says that it has not done, and will not do, what it was asked."""
    import openai

    if not isinstance(error, openai.APIStatusError):
        return False
    return not isinstance(judge_status(error.status_code, error.code, "", {}), PassingError)


def listed(api: OpenAI, token: str) -> str | None:
    """The id of the batch that was created for a token, where the API lists it (the latest come first)."""
    for number, batch in enumerate(api.batches.list(limit=100)):
        if (batch.metadata or {}).get("openthoughts") == token:
            return batch.id
        if number >= 1000:
            break
    return None


def cancel(batch: Batch, key: str) -> str:
    """Ask the API to cancel a batch; its status."""
    from openai import OpenAI

    with OpenAI(base_url=batch.base_url, api_key=key, max_retries=4) as api:
        batch_id = batch.batch_id or listed(api, batch.token)
        if batch_id is None:
            return "never submitted"
        state = api.batches.retrieve(batch_id)
        return state.status if state.status in ENDED else api.batches.cancel(batch_id).status
