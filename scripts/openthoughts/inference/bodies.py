"""What the body of a response says: an answer or an embedding, or the reason why there is none.

An answer is a chat completion or a response of the Responses API. There is none in an error sent with status 200, an
empty answer, the call of a tool, or something else altogether.
"""

from __future__ import annotations

import array
import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from openthoughts.base.reasoning import is_blank
from openthoughts.inference.body_forms import Completion, Message, Response, Usage
from openthoughts.inference.protocol import (
    ABOUT_QUESTIONS,
    USED_UP,
    Answer,
    EmptyAnswerError,
    FatalError,
    PassingError,
    RefusedError,
    is_about_the_question,
    judge_status,
    valid,
)

BROKEN_OFF = {
    "abort", "aborted", "cancelled", "canceled", "error", "timeout", "network_error", "insufficient_system_resource",
}  # fmt: skip
"""Finish reasons of a server that ended the answer itself."""

FILTERED = {"content_filter", "content-filter", "safety", "recitation", "sensitive", "blocklist", "prohibited_content"}
"""Finish reasons of an answer that a filter stopped."""

CODES = {
    **dict.fromkeys(ABOUT_QUESTIONS, 400),
    "invalid_request_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_denied": 403,
    "model_not_found": 404,
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "resource_exhausted"), 429),
    **dict.fromkeys(USED_UP, 429),
}
"""The HTTP status of an error that says its code, or only its type, in words."""

ABOUT = ("id", "model", "system_fingerprint", "usage")
"""What is kept of a body besides its answer."""


def parse_answer(content: bytes) -> Answer:
    """The answer in a response's body; raises as ``read_completion`` does."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PassingError(f"the response is no JSON ({_start(content)})") from error
    return read_completion(body)


def read_completion(body: Any) -> Answer:
    """The answer in a completion, or in a response of the Responses API.

    Raises ``EmptyAnswerError`` where it has no text, ``PassingError`` where there is none, and what an error's code
    means where the body is an error.
    """
    try:
        body = _clean(body)
        if (error := _error_in(body)) is not None:
            raise _read_error(error)
        is_response = isinstance(body, Mapping) and _is_response(body)
        found = Response.model_validate(body) if is_response else Completion.model_validate(body)
    except (ValidationError, RecursionError) as error:
        is_response = isinstance(body, Mapping) and _is_response(body)
        name = "a response of the Responses API" if is_response else "a completion"
        raise PassingError(f"the response is not {name} ({_first_problem(error)})") from error
    about = {name: body[name] for name in ABOUT if body.get(name) is not None}
    if isinstance(found, Response):
        return _of_response(found, about)
    choice, tokens = found.choices[0], found.usage
    if (choice.finish_reason or "").lower() in BROKEN_OFF:
        raise PassingError(f"the server broke off ({choice.finish_reason})")
    if not _is_plain(sent := body["choices"][0]["message"]):
        about["message"] = sent
    return _answer(choice.message, choice.finish_reason, tokens.prompt_tokens, tokens.completion_tokens, about)


def _is_response(body: Mapping[Any, Any]) -> bool:
    """Whether a body is meant as one of the Responses API."""
    return "choices" not in body and (body.get("object") == "response" or "output" in body)


def _of_response(found: Response, about: dict[str, Any]) -> Answer:
    """The answer in a response of the Responses API."""
    finish = found.finish_reason()
    if finish is None:
        raise PassingError(f"the server broke off ({found.broken_off()})")
    return _answer(found.message(), finish, found.usage.input_tokens, found.usage.output_tokens, about)


def _answer(
    message: Message, finish: str | None, asked: int | None, answered: int | None, about: dict[str, Any]
) -> Answer:
    """What a message answers, with its tokens and what is kept of its body.

    Raises ``EmptyAnswerError`` where it has no text.
    """
    refusal = _refusal(message, finish)
    text, thinking = ("", None) if refusal else (message.text(), message.thinking())
    if not refusal and is_blank(text) and is_blank(thinking):
        nothing = Answer(None, finish_reason=finish, prompt_tokens=asked, completion_tokens=answered, response=about)
        raise EmptyAnswerError(message.why_empty(), nothing)
    return Answer(
        text=None if refusal else text,
        reasoning=thinking,
        finish_reason=None if refusal else finish,
        prompt_tokens=asked,
        completion_tokens=answered,
        error=refusal,
        response=about,
    )


def _is_plain(message: dict[str, Any]) -> bool:
    """Whether text and reasoning say all that a message holds."""
    held = {name: value for name, value in message.items() if value not in (None, "", [], {}) and name != "role"}
    thinking = [held.pop(name) for name in ("reasoning_content", "reasoning") if name in held]
    words = [*thinking, held.pop("content", "")]
    return not held and all(isinstance(one, str) for one in words) and all(one == thinking[0] for one in thinking)


def parse_embedding(content: bytes) -> Answer:
    """The embedding in a response's body, as base64 of its float32 numbers. ``PassingError`` where there is none."""
    try:
        body = json.loads(content)
        if (error := _clean(_error_in(body))) is not None:
            raise _read_error(error)
        found = body["data"][0]["embedding"]
        text = found if isinstance(found, str) else base64.b64encode(array.array("f", found).tobytes()).decode()
        about = {name: _clean(body[name]) for name in ("model", "usage") if body.get(name) is not None}
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError) as error:
        raise PassingError(f"the response is not an embedding ({_start(content)})") from error
    usage = about.get("usage")
    tokens = Usage.model_validate(usage).prompt_tokens if isinstance(usage, dict) else None
    return Answer(text=text, finish_reason="stop", prompt_tokens=tokens, completion_tokens=0, response=about)


def _refusal(message: Message, finish: str | None) -> str | None:
    """Why there never will be an answer: the content filter, or the model itself."""
    if (finish or "").partition(":")[0].lower() in FILTERED:
        return "refused by the content filter"
    refused = message.refused()
    return f"refused by the model: {refused[:300]}" if refused and not message.text() else None


def _error_in(body: Any) -> Any:
    """The error that a body is; null where it is none."""
    if not isinstance(body, Mapping):
        return None
    return body.get("error") or (body if body.get("object") == "error" else None)


def _read_error(error: Any) -> PassingError | RefusedError | FatalError:
    """What an error in a body of status 200 means: by its code or its type, else by its words."""
    told = error if isinstance(error, Mapping) else {"message": error}
    code, message = told.get("code"), " ".join(str(told.get("message") or error).split())[:300]
    names = [str(name).lower() for name in (code, told.get("type"), told.get("status")) if name is not None]
    known = [int(name) for name in names if name in map(str, range(400, 600))]
    known += [CODES[name] for name in names if name in CODES]
    name = next((name for name in names if name in CODES), None if code is None else str(code))
    status = known[0] if known else 400 if is_about_the_question(name, message) else 500
    return judge_status(status, name, message, {})


def _clean(value: Any) -> Any:
    """A body that can be stored: lone surrogates become U+FFFD, and what JSON calls no number (NaN) becomes null."""
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(each) for key, each in value.items()}
    return value


def _first_problem(error: ValidationError | RecursionError) -> str:
    """Where the form of a body is wrong, and how."""
    if isinstance(error, RecursionError):
        return "too deeply nested"
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(key) for key in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def _start(content: bytes) -> str:
    return content[:80].decode(errors="replace")
