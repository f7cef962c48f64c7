"""What the body of a response says: the forms that servers give a completion and an embedding in, and their readers.

A body is an answer, or the reason why there is none: an error sent with status 200, an empty answer, the call of a
tool, or something else altogether.
"""

from __future__ import annotations

import array
import base64
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from openthoughts.base.reasoning import is_blank
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

THINKING = {"thinking", "reasoning", "redacted_thinking", "reasoning.text", "reasoning.summary", "summary_text"}
"""Types of the parts of a message that hold the model's thinking."""

TEXT = {"text", "output_text"}
"""Types of the parts of a message that hold its text."""

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

MOST_TOKENS = 2**31
"""Counts of tokens that are not below this are a server's mistake."""

ABOUT = ("id", "model", "system_fingerprint", "usage")
"""What is kept of a body besides its answer."""


class _Form(BaseModel):
    """Keys that nothing here reads are no mistake."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Part(_Form):
    """A part of a message whose content is a list; servers hold thinking in keys of different names."""

    type: str = "text"
    text: str | None = None
    thinking: str | list[Part] | None = None
    reasoning: str | list[Part] | None = None
    summary: str | list[Part] | None = None
    refusal: str | None = None

    def words(self) -> str:
        """Its text or its thinking."""
        return next((_joined(held) for held in (self.text, self.thinking, self.reasoning, self.summary) if held), "")


Words = str | list[str | Part] | None


class Message(_Form):
    """What the model said."""

    content: Words = None
    reasoning_content: Words = None
    reasoning: Words = None
    reasoning_details: list[Part] | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None

    def parts(self) -> list[Part]:
        """The content as parts."""
        content = self.content if isinstance(self.content, list) else [self.content or ""]
        return [Part(text=part) if isinstance(part, str) else part for part in content]

    def text(self) -> str:
        """The parts of text, joined. Raises ``EmptyAnswerError`` where a part is neither text nor thinking."""
        unknown = [part.type for part in self.parts() if part.type not in TEXT | THINKING | {"refusal"}]
        if unknown:
            raise EmptyAnswerError(f"the answer holds what is no text ({unknown[0]})")
        return "".join(part.words() for part in self.parts() if part.type in TEXT)

    def thinking(self) -> str | None:
        """The thinking, from the first place that has some: keys of their own, the parts, the details."""
        in_parts = [part for part in self.parts() if part.type in THINKING]
        for held in (self.reasoning_content, self.reasoning, in_parts, self.reasoning_details):
            if words := _joined(held):
                return words
        return None

    def refused(self) -> str | None:
        """How the model refused; None where it did not."""
        return self.refusal or next((part.refusal for part in self.parts() if part.refusal), None)

    def called(self) -> str | None:
        """The name of the tool that the model called instead of answering; None without one."""
        listed = self.tool_calls if isinstance(self.tool_calls, list) else []
        calls = [call.get("function") for call in listed if isinstance(call, dict)] + [self.function_call]
        return next((str(call.get("name"))[:100] for call in calls if isinstance(call, dict)), None)


class Choice(_Form):
    """One answer of a completion."""

    message: Message
    finish_reason: str | None = None


def _count_or_none(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS else None


class Usage(_Form):
    """Tokens; what a server says in another way is unknown."""

    prompt_tokens: Annotated[int | None, BeforeValidator(_count_or_none)] = None
    completion_tokens: Annotated[int | None, BeforeValidator(_count_or_none)] = None


class Completion(_Form):
    """The body of an answered request."""

    choices: list[Choice] = Field(min_length=1)
    usage: Annotated[Usage, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = Usage()


def parse_answer(content: bytes) -> Answer:
    """The answer in a response's body; raises as ``read_completion`` does."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PassingError(f"the response is no JSON ({_start(content)})") from error
    return read_completion(body)


def read_completion(body: Any) -> Answer:
    """The answer in a completion.

    Raises ``EmptyAnswerError`` where it has no text, ``PassingError`` where there is none, and what an error's code
    means where the body is an error.
    """
    try:
        body = _clean(body)
        if (error := _error_in(body)) is not None:
            raise _read_error(error)
        completion = Completion.model_validate(body)
    except (ValidationError, RecursionError) as error:
        raise PassingError(f"the response is not a completion ({_first_problem(error)})") from error
    choice = completion.choices[0]
    message, finish = choice.message, choice.finish_reason
    if (finish or "").lower() in BROKEN_OFF:
        raise PassingError(f"the server broke off ({finish})")
    refusal = _refusal(message, finish)
    text, thinking = ("", None) if refusal else (message.text(), message.thinking())
    if not refusal and is_blank(text) and is_blank(thinking):
        called = message.called()
        reason = f"the model called a tool ({called}) and gave no answer" if called else "the answer is empty"
        raise EmptyAnswerError(reason)
    about = {name: body[name] for name in ABOUT if body.get(name) is not None}
    if not _is_plain(sent := body["choices"][0]["message"]):
        about["message"] = sent
    return Answer(
        text=None if refusal else text,
        reasoning=thinking,
        finish_reason=None if refusal else finish,
        prompt_tokens=completion.usage.prompt_tokens,
        completion_tokens=completion.usage.completion_tokens,
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


def _joined(words: Words | list[Part]) -> str:
    """The texts of parts, one after the other; "" where there are none."""
    if words is None or isinstance(words, str):
        return words or ""
    return "".join(part if isinstance(part, str) else part.words() for part in words)


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
