"""The OpenAI-compatible protocol: what is asked, and what a response's status, headers and body mean. Nothing is sent.

A response is an answer (a text, or the reason why there never will be one), or one of three errors: another attempt may
go better (``PassingError``), this request will never be answered (``RefusedError``), or the run cannot go on
(``FatalError``).
"""

from __future__ import annotations

import array
import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.inference.prompts import Messages


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


def error_of(error: Any) -> tuple[str | None, str]:
    """The code and the message of an ``openai.APIStatusError``."""
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
        raise PassingError(
            f"the response is not an embedding ({_clean(content[:80].decode(errors='replace'))})"
        ) from error
    tokens = (body.get("usage") or {}).get("prompt_tokens")
    about = {name: body[name] for name in ("model", "usage") if body.get(name) is not None}
    return Answer(text=text, finish_reason="stop", prompt_tokens=tokens, completion_tokens=0, response=about)


def read_completion(body: Any) -> Answer:
    """The answer in a completion. Raises ``PassingError`` where it is none."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError) as error:
        raise PassingError(f"the response is not a completion ({str(body)[:80]})") from error
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
