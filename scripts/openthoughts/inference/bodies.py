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
from openthoughts.inference.finish import BROKEN_OFF, CALLING, REFUSED, plain, refusal
from openthoughts.inference.protocol import (
    ABOUT_QUESTIONS,
    USED_UP,
    Answer,
    EmptyAnswerError,
    FatalError,
    PaidError,
    PassingError,
    RefusedError,
    is_about_the_question,
    is_used_up,
    judge_status,
    valid,
)

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

    Raises ``EmptyAnswerError`` where it has no text, ``PaidError`` where it was paid for and has no form that is
    known, ``PassingError`` where there is none, and what an error's code means where the body is an error.
    """
    try:
        body = _clean(body)
    except RecursionError as error:
        raise PassingError("the response is too deeply nested") from error
    if (told := error_in(body)) is not None:
        raise _with(read_error(told), _useless(body))
    is_response = isinstance(body, Mapping) and _is_response(body)
    try:
        found = Response.model_validate(body) if is_response else Completion.model_validate(body)
    except (ValidationError, RecursionError) as error:
        name = "a response of the Responses API" if is_response else "a completion"
        raise _unreadable(f"the response is not {name} ({_first_problem(error)})", _useless(body)) from error
    try:
        return _found(found, body)
    except RecursionError as error:
        raise _unreadable("the response is too deeply nested", _useless(body)) from error


def _found(found: Completion | Response, body: Any) -> Answer:
    """The answer in a body of a known form; raises as ``read_completion`` does."""
    about, usage = _about(body), _usage(body)
    if isinstance(found, Response):
        finish, message = found.finish_reason(), found.message()
        broken_off = found.broken_off() if finish is None else None
    else:
        finish, message = found.choices[0].finish_reason, found.choices[0].message
        broken_off = finish if plain(finish) in BROKEN_OFF else None
        if not _is_plain(sent := body["choices"][0]["message"]):
            about["message"] = sent
    if broken_off is not None:
        raise PassingError(f"the server broke off ({broken_off})", answer=_useless(body))
    return _answer(message, finish, usage, about)


def _about(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a body besides its answer."""
    return {name: body[name] for name in ABOUT if body.get(name) is not None}


def _usage(body: Mapping[str, Any]) -> Usage:
    usage = body.get("usage")
    return Usage.model_validate(usage if isinstance(usage, dict) else {})


def _useless(body: Any) -> Answer | None:
    """What is kept of a body that was paid for, or holds more than an error, and gives no answer."""
    if not isinstance(body, Mapping):
        return None
    usage = _usage(body)
    held = {name: body[name] for name in ("choices", "output") if body.get(name)}
    if not (held or usage.asked() or usage.answered()):
        return None
    return Answer(None, None, None, usage.asked(), usage.answered(), None, {**_about(body), **held})


def _unreadable(reason: str, paid: Answer | None) -> PassingError:
    """What a body means that has no form which is known; what was ``paid`` for is seldom otherwise the next time."""
    if paid and (paid.prompt_tokens or paid.completion_tokens):
        return PaidError(reason, paid)
    return PassingError(reason, answer=paid)


def _is_response(body: Mapping[Any, Any]) -> bool:
    """Whether a body is meant as one of the Responses API."""
    return "choices" not in body and (body.get("object") == "response" or "output" in body)


def _answer(message: Message, finish: str | None, usage: Usage, about: dict[str, Any]) -> Answer:
    """What a message answers, with its tokens and what is kept of its body.

    Raises ``EmptyAnswerError`` where it has no text.
    """
    refused = _refusal(message, finish)
    text, thinking = ("", None) if refused else (message.text(), message.thoughts())
    asked, answered = usage.asked(), usage.answered()
    is_unfinished = plain(finish) in CALLING and message.called() is not None
    if not refused and (is_unfinished or (is_blank(text) and is_blank(thinking))):
        nothing = Answer(None, finish_reason=finish, prompt_tokens=asked, completion_tokens=answered, response=about)
        raise EmptyAnswerError(message.why_empty(), nothing)
    return Answer(
        text=None if refused else text,
        reasoning=thinking,
        finish_reason=None if refused else finish,
        prompt_tokens=asked,
        completion_tokens=answered,
        error=refused,
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
    body = None
    try:
        body = json.loads(content)
        if (error := _clean(error_in(body))) is not None:
            raise read_error(error)
        found = body["data"][0]["embedding"]
        text = found if isinstance(found, str) else base64.b64encode(array.array("f", found).tobytes()).decode()
        about = {name: _clean(body[name]) for name in ("model", "usage") if body.get(name) is not None}
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError) as error:
        reason, paid = f"the response is not an embedding ({_start(content)})", None
        if isinstance(body, Mapping) and (tokens := _usage(body).asked()):
            paid = Answer(None, prompt_tokens=tokens, completion_tokens=0)
        raise _unreadable(reason, paid) from error
    tokens = _usage(about).asked()
    return Answer(text=text, finish_reason="stop", prompt_tokens=tokens, completion_tokens=0, response=about)


def _refusal(message: Message, finish: str | None) -> str | None:
    """Why there never will be an answer: the content filter, or the model itself."""
    by_filter, said = refusal(finish), message.refused()
    if said and (plain(finish) == REFUSED or not by_filter):
        return f"refused by the model: {said[:300]}"
    return by_filter


def error_in(body: Any) -> Any:
    """The error that a body, or its choice, is; null where it is none."""
    if not isinstance(body, Mapping):
        return None
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    return body.get("error") or (body if body.get("object") == "error" else None) or choice.get("error") or None


def read_error(error: Any, status: int | None = None) -> PassingError | RefusedError | FatalError:
    """What an error means that came with a status, or in a body of status 200: by its code or type, else its words."""
    told = error if isinstance(error, Mapping) else {"message": error}
    code, message = told.get("code"), valid(" ".join(str(told.get("message") or error).split())[:300])
    names = [str(name).lower() for name in (code, told.get("type"), told.get("status")) if name is not None]
    known = [int(name) for name in names if name in map(str, range(400, 600))]
    known += [CODES[name] for name in names if name in CODES]
    name = next((name for name in names if name in CODES), None if code is None else str(code))
    if status is None:
        is_for_good = is_about_the_question(name, message) or is_used_up(400, name, message)
        status = known[0] if known else 400 if is_for_good else 500
    return judge_status(status, name, message, {})


def _with(
    error: PassingError | RefusedError | FatalError, answer: Answer | None
) -> PassingError | RefusedError | FatalError:
    """An error with what was paid for all the same."""
    if not isinstance(error, FatalError):
        error.answer = answer
    return error


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
    return " ".join(content[:80].decode(errors="replace").split())
