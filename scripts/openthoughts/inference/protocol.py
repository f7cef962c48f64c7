"""The OpenAI-compatible protocol: what is asked, and what a response's status and headers mean. Nothing is sent.

A response is an answer (a text, or the reason why there never will be one), or one of three errors: another attempt may
go better (``PassingError``), this request will never be answered (``RefusedError``), or the run cannot go on
(``FatalError``).
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.inference.prompts import Messages

ATTEMPTS = 8
"""So often is asked for one answer."""

USED_UP = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "insufficient_credits",
    "insufficient_balance",
    "exceeded_current_quota_error",
    "arrearage",
}
"""Codes of an account without credit."""

_NO_CREDIT = re.compile(r"insufficient (credit|balance|fund)|credit balance is too low|out of credits", re.IGNORECASE)

TIMEOUT_ATTEMPTS = 2
EMPTY_ATTEMPTS = 2


PAID_BEFORE = "tokens_of_empty_answers"
"""Key of a response: tokens, in and out, of what was paid for before it and brought nothing."""


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

    def paid_with(self, useless: Sequence[Answer]) -> Answer:
        """The answer with the tokens of those of no use that came before it, which are paid for too."""
        if not useless:
            return self
        tokens = [_sum(one.prompt_tokens for one in useless) or 0, _sum(one.completion_tokens for one in useless) or 0]
        return dataclasses.replace(self, response={**self.response, PAID_BEFORE: tokens})


class FatalError(UserError):
    """The run cannot go on: the key, the model or the server is at fault, or the user stopped it."""

    def __init__(self, found: str, remedy: str = "") -> None:
        """``found`` says what is wrong, ``remedy`` what to do, where ``found`` does not say that too."""
        super().__init__(f"{found}: {remedy}." if remedy else found)
        self.found = found
        self.remedy = remedy


class UsedUpError(FatalError):
    """The account has no credit."""

    def __init__(self, name: str, message: str) -> None:
        """``name`` is the server's, ``message`` what it said."""
        super().__init__(f"the account of {name} is used up ({message})", "add credit, then run again")


class PassingError(Exception):
    """An attempt that may go better another time."""

    def __init__(
        self,
        reason: str,
        after: float | None = None,
        attempts: int = ATTEMPTS,
        is_limit: bool = False,
        answer: Answer | None = None,
    ) -> None:
        """``after``: seconds to wait, where the server says so; ``attempts``: so many in all are enough; ``is_limit``:
        the server has told this client to slow down, which counts as no attempt; ``answer``: what was paid for."""
        super().__init__(reason)
        self.after = after
        self.attempts = attempts
        self.is_limit = is_limit
        self.answer = answer

    def in_the_end(self, others: Sequence[Answer], attempt: int) -> Answer:
        """What comes of it when nothing more is tried: it is raised with what the ``others`` before it cost."""
        paid = [*others, self.answer] if self.answer else others
        raise PassingError(f"{self}, {attempt} times", answer=Answer(None).paid_with(paid)) from self


class PaidError(PassingError):
    """An answer of no use, as its form is unknown: paid for as any other, and seldom otherwise the next time."""

    def __init__(self, reason: str, answer: Answer | None = None) -> None:
        """``answer`` is what there is of it: its tokens, why it ended, and what the server said besides."""
        super().__init__(reason, attempts=EMPTY_ATTEMPTS, answer=answer)

    def after_all(self, others: Sequence[Answer] = ()) -> Answer:
        """The failure that it is in the end, with the tokens of the ``others`` that were of no use before it."""
        last = self.answer or Answer(None)
        every = [*others, last]
        times = f", {len(every)} times" if others else ""
        return dataclasses.replace(
            last,
            text=None,
            error=f"{self}{times}",
            prompt_tokens=_sum(one.prompt_tokens for one in every),
            completion_tokens=_sum(one.completion_tokens for one in every),
        )

    def in_the_end(self, others: Sequence[Answer], attempt: int) -> Answer:
        """Raised, as a server that gives nothing else is of no use."""
        failure = self.after_all(others)
        raise PassingError(str(failure.error), answer=failure) from self


class EmptyAnswerError(PaidError):
    """An answer without a text."""

    def in_the_end(self, others: Sequence[Answer], attempt: int) -> Answer:
        """An answer, though a failed one: the server answers."""
        return self.after_all(others)


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum of what is known; null where nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


class RefusedError(Exception):
    """A request that this server will never answer."""

    def __init__(self, reason: str, is_about_the_question: bool) -> None:
        super().__init__(reason)
        self.is_about_the_question = is_about_the_question
        self.answer: Answer | None = None
        """What was paid for all the same."""


def failed(error: PassingError | RefusedError) -> Answer:
    """The failure that an error is in the end, with what was paid for all the same."""
    return dataclasses.replace(error.answer or Answer(None), error=str(error))


def judge_status(
    status: int, code: str | None, message: str, headers: Mapping[str, str], name: str = "the server"
) -> PassingError | RefusedError | FatalError:
    """What an HTTP status other than 200 means for a request, or for the whole run."""
    if is_used_up(status, code, message):
        return UsedUpError(name, message)
    if status == 429:
        return PassingError(f"{status}: {message}", after=retry_after(headers), is_limit=True)
    if status in PASSING or status >= 500:
        return PassingError(f"{status}: {message}", after=retry_after(headers))
    about_question = is_about_the_question(code, message)
    if status == 401 or (status == 403 and (not about_question or _ACCOUNT.search(message))):
        return FatalError(f"{name} refuses the key ({status}: {message})", "set the right one and run again")
    if status == 404:
        how = (
            remedy(message)
            if _OTHER_API in message
            else "correct `api_model` or `base_url` in its entry of the catalog"
        )
        return FatalError(f"{name} does not know the model ({status}: {message})", how)
    return RefusedError(f"refused ({status}: {message})", about_question)


PASSING = (408, 409, 425, 498)
"""Statuses below 500 that pass; 498 is Groq's for a lack of capacity."""

_ACCOUNT = re.compile(r"\b(account|organi[sz]ation|project|api[ _-]?key)\b", re.IGNORECASE)
"""What is flagged where a whole account is, and not one question."""


def is_used_up(status: int, code: str | None, message: str) -> bool:
    """Whether an error says that the account has no credit."""
    if status == 402 or (status < 500 and (code or "").lower() in USED_UP):
        return True
    is_told_by_words = status in (403, 429) or (400 <= status < 500 and code is None)
    return is_told_by_words and bool(_NO_CREDIT.search(message))


def error_of(error: Any) -> tuple[str | None, str]:
    """The code and the message of an ``openai.APIStatusError``."""
    body = error.body if isinstance(error.body, dict) else {}
    message = body.get("message") or error.response.text or error.message
    code = body.get("code") or body.get("type")
    return None if code is None else valid(str(code)), valid(" ".join(str(message).split())[:300])


def valid(text: str) -> str:
    """A text in valid Unicode: lone surrogates become U+FFFD."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


ABOUT_QUESTIONS = {
    "context_length_exceeded",
    "exceed_context_size_error",
    "content_filter",
    "content_policy_violation",
    "data_inspection_failed",
    "datainspectionfailed",
    "string_above_max_length",
    "invalid_prompt",
    "bio_policy",
    "misalignment_policy_violation",
}
"""Codes of errors that are for what a question is, in small letters."""

_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|max_model_len|longer than the maximum|too many (input )?tokens"
    r"|(prompt|input|request|messages?) (is|are) too long|token count[^.]*exceeds|range of input length"
    r"|model token limit|\binputs\W+(tokens \+|must have less than)|reduce the length of",
    re.IGNORECASE,
)

_FILTERED = re.compile(
    r"content[ _](management )?(filter|policy)|flagged|\bsafety\b|moderation|content exists risk|data_inspection_failed"
    r"|violates?\b[^.]*\b(guidelines|polic(y|ies))|(inappropriate|prohibited)[ _]content|considered high risk",
    re.IGNORECASE,
)

_NAMES_A_SETTING = re.compile(
    r"(unknown|unsupported|unrecognized|unexpected)( request)? (parameter|argument|field|value)"
    r"|max_(completion_|output_)?tokens[^.]*(exceeds|too large)|max_tokens \d+$",
    re.IGNORECASE,
)


def is_about_the_question(code: str | None, message: str) -> bool:
    """Whether a refusal is for what this question is, not for settings that all requests share."""
    if (code or "").lower() in ABOUT_QUESTIONS:
        return True
    if _NAMES_A_SETTING.search(message):
        return False
    is_filtered = _FILTERED.search(message) and not _ACCOUNT.search(message)
    return bool(_TOO_LONG.search(message) or is_filtered)


_OTHER_API = "v1/responses"
"""What a server names where a model has the Responses API only."""

_REFUSED_SETTING = re.compile(
    r"(unsupported|not supported|does not support|unknown|unrecognized|unexpected|not permitted)[^.]*"
    r"(parameter|argument|field|value|input|key)|(parameter|argument|field|value)[^.]*(not supported|not permitted)"
    r"|cannot both be specified",
    re.IGNORECASE,
)

_RENAMED = re.compile(r"'(\w+)' is not supported[^.]*\. Use '(\w+)' instead")

_NAMED = (
    re.compile(r"(?:parameter|argument|argument supplied|field|key|value|input):? ['\"`](\w+)", re.IGNORECASE),
    re.compile(r"(?:parameter|argument|argument supplied|field|key|input): (\w+)", re.IGNORECASE),
    re.compile(r"['\"`](\w+)['\"`] (?:is|are|does|cannot)\b"),
    re.compile(r"'body', '(\w+)'"),
)
"""How servers name the setting that they refuse."""

_NO_MODEL = re.compile(r"\bmodel\b.*\b(not exist|not found|unknown|invalid)|(unknown|invalid) model", re.IGNORECASE)

_NO_SETTINGS = ("model", "messages", "input")


def change_of(reason: str) -> dict[str, Any]:
    """The part of a model's ``request`` block that answers a refusal; empty where none is known to."""
    if _OTHER_API in reason:
        return {"api": "responses"}
    if renamed := _RENAMED.search(reason):
        return {"rename": {renamed[1]: renamed[2]}}
    if not _REFUSED_SETTING.search(reason):
        return {}
    key = next((named[1] for pattern in _NAMED if (named := pattern.search(reason))), None)
    return {} if key is None or key in _NO_SETTINGS else {"omit": [key]}


def remedy(reason: str) -> str:
    """What to do where a server refuses everything for this reason."""
    change = change_of(reason)
    if "api" in change:
        return "ask it by the Responses API with `request: {api: responses}` in its entry of the catalog"
    for key, name in change.get("rename", {}).items():
        return f"name it with `request: {{rename: {{{key}: {name}}}}}` in its entry of the catalog"
    if change or _REFUSED_SETTING.search(reason):
        (key,) = change.get("omit", ["..."])
        return f"leave out what the model refuses with `request: {{omit: [{key}]}}` in its entry of the catalog"
    if _NO_MODEL.search(reason):
        return "correct `api_model` in its entry of the catalog"
    return "fix the cause"


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
        except (ValueError, TypeError, OverflowError):
            return None


_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"


def duration(text: str) -> float:
    """Seconds of a span as rate headers write it: ``1m30s``, ``20ms``, ``2``; 0 for what is no span."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    if not re.fullmatch(f"(?:{_NUMBER}(?:ms|h|m|s))*(?:{_NUMBER})?", text):
        return 0.0
    return sum(float(number) * units[unit] for number, unit in re.findall(f"({_NUMBER})(ms|h|m|s|)", text))
