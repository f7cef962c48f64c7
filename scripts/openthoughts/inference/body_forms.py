"""The forms that servers give an answer in: a chat completion, or a response of the Responses API."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from openthoughts.base.reasoning import EMPTY

THINKING = {"thinking", "reasoning", "redacted_thinking", "reasoning.text", "reasoning.summary", "summary_text"}
"""Types of the parts of a message that hold the model's thinking."""

COMMENTARY = "commentary"
"""Phase of a message of the Responses API that is said on the way to the answer: it counts as thinking."""

TEXT = {"text", "output_text"}
"""Types of the parts of a message that hold its text."""

MOST_TOKENS = 2**31
"""Counts of tokens that are not below this are a server's mistake."""


class _Form(BaseModel):
    """Keys that nothing here reads are no mistake."""

    model_config = ConfigDict(extra="ignore", strict=True)


def _or_none(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """A value, or null where it has another form."""
    try:
        return validate(value)
    except ValidationError:
        return None


Aside = WrapValidator(_or_none)
"""What may stand beside a text: in another form it says nothing, and the raw message is kept."""


class Part(_Form):
    """A part of a message whose content is a list; servers hold thinking in keys of different names."""

    type: str = "text"
    text: str | None = None
    thinking: Annotated[str | list[Part] | None, Aside] = None
    reasoning: Annotated[str | list[Part] | None, Aside] = None
    summary: Annotated[str | list[Part] | None, Aside] = None
    refusal: Annotated[str | None, Aside] = None

    def words(self) -> str:
        """Its text or its thinking."""
        return next((_joined(held) for held in (self.text, self.thinking, self.reasoning, self.summary) if held), "")


Words = str | list[str | Part] | None


class Message(_Form):
    """What the model said."""

    content: Words = None
    reasoning_content: Annotated[Words, Aside] = None
    reasoning: Annotated[Words, Aside] = None
    reasoning_details: Annotated[list[Part] | None, Aside] = None
    refusal: Annotated[str | None, Aside] = None
    tool_calls: Any = None
    function_call: Any = None

    def parts(self) -> list[Part]:
        """The content as parts."""
        content = self.content if isinstance(self.content, list) else [self.content or ""]
        return [Part(text=part) if isinstance(part, str) else part for part in content]

    def text(self) -> str:
        """The parts of text, joined."""
        return "".join(part.words() for part in self.parts() if part.type in TEXT)

    def why_empty(self) -> str:
        """Why there is no text: a tool was called, or a part is neither text nor thinking."""
        unknown = [part.type for part in self.parts() if part.type not in TEXT | THINKING | {"refusal"}]
        if unknown:
            return f"the answer holds what is no text ({unknown[0]})"
        called = self.called()
        return f"the model called a tool ({called}) and gave no answer" if called else EMPTY

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
    finish_reason: Annotated[str | None, Aside] = None


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


class Item(_Form):
    """One item of a response's output: a message, reasoning, or what a tool does."""

    type: str = "message"
    content: str | list[Part] | None = None
    summary: list[Part] | None = None
    phase: str | None = None
    name: str | None = None

    def parts(self) -> list[Part]:
        """What it says, as parts of a message; none where a tool does something."""
        if self.type == "reasoning":
            words = _joined(self.content) or "\n\n".join(part.words() for part in self.summary or [])
            return [Part(type="reasoning", text=words)]
        if self.type != "message":
            return []
        if self.phase == COMMENTARY:
            return [Part(type="reasoning", text=_joined(self.content))]
        return [Part(text=self.content)] if isinstance(self.content, str) else self.content or []


class Incomplete(_Form):
    """Why a response is not complete."""

    reason: str | None = None


class ResponseUsage(_Form):
    """Tokens, as the Responses API names them."""

    input_tokens: Annotated[int | None, BeforeValidator(_count_or_none)] = None
    output_tokens: Annotated[int | None, BeforeValidator(_count_or_none)] = None


class Response(_Form):
    """The body of an answered request of the Responses API."""

    output: list[Item]
    status: str | None = None
    incomplete_details: Incomplete | None = None
    usage: Annotated[ResponseUsage, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = (
        ResponseUsage()
    )

    def finish_reason(self) -> str | None:
        """Why the answer ended, as a completion says it; None where the server broke off."""
        if self.status in ("completed", None):
            return "stop"
        reason = self.incomplete_details.reason if self.incomplete_details else None
        return {"max_output_tokens": "length", "content_filter": "content_filter"}.get(reason or "")

    def broken_off(self) -> str:
        """Why there is no finish reason."""
        reason = self.incomplete_details.reason if self.incomplete_details else None
        return reason or str(self.status)

    def message(self) -> Message:
        """What the model said, as the message of a completion."""
        parts = [part for item in self.output for part in item.parts()]
        thinking = [words for part in parts if part.type == "reasoning" and (words := part.words())]
        calls = [{"function": {"name": item.name}} for item in self.output if item.type == "function_call"]
        content: list[str | Part] = [part for part in parts if part.type != "reasoning"]
        return Message(content=content, reasoning_content="\n\n".join(thinking) or None, tool_calls=calls)


def _joined(words: Words | list[Part]) -> str:
    """The texts of parts, one after the other; "" where there are none."""
    if words is None or isinstance(words, str):
        return words or ""
    return "".join(part if isinstance(part, str) else part.words() for part in words)
