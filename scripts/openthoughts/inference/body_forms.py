"""The forms that servers give an answer in: a chat completion, or a response of the Responses API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from openthoughts.base.reasoning import EMPTY
from openthoughts.inference.finish import ENDS, plain, refusal

THINKING = {
    "thinking", "reasoning", "redacted_thinking", "reasoning.text", "reasoning.summary", "summary_text",
    "reasoning_text", "thought", "think", "reasoningContent", "reasoning_content",
}  # fmt: skip
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


def _as_list(value: Any) -> Any:
    """One part as a list of one."""
    return [value] if isinstance(value, dict) and ("text" in value or "type" in value) else value


def _value(text: Any) -> Any:
    """A text, or what an object says under ``value``."""
    return text["value"] if isinstance(text, dict) and "value" in text else text


class Part(_Form):
    """A part of a message whose content is a list; servers hold thinking in keys of different names."""

    type: str = "text"
    text: Annotated[str | None, BeforeValidator(_value)] = None
    thinking: Thoughts = None
    reasoning: Thoughts = None
    thought: Thoughts = None
    think: Thoughts = None
    summary: Thoughts = None
    refusal: Annotated[str | None, Aside] = None

    @model_validator(mode="before")
    @classmethod
    def _by_its_keys(cls, value: Any) -> Any:
        """A part of thinking that is known by a key: ``reasoningContent`` of Bedrock, ``thought: true`` of Gemini."""
        if isinstance(value, dict) and value.get("thought") is True:
            return {**value, "type": "thought"}
        for name in ("reasoningContent", "reasoningText", "reasoning_text"):
            if isinstance(value, dict) and isinstance(held := value.get(name), str | dict):
                return {"type": "reasoning", **value, "reasoning": [held]}
        return value

    def words(self) -> str:
        """Its text or its thinking."""
        every = (self.text, self.thinking, self.reasoning, self.thought, self.think, self.summary)
        return next((_joined(held) for held in every if held), "")


Words = Annotated[str | list[str | Part | None] | None, BeforeValidator(_as_list)]
"""A text, whole or in parts; null parts say nothing."""

Thoughts = Annotated[str | list[Annotated[str | Part | None, Aside]] | None, Aside, BeforeValidator(_as_list)]
"""Thinking, in which a part of another form says nothing."""

Part.model_rebuild()


class Message(_Form):
    """What the model said."""

    content: Words = None
    reasoning_content: Thoughts = None
    reasoning: Thoughts = None
    thinking: Thoughts = None
    thinking_blocks: Thoughts = None
    reasoning_details: Thoughts = None
    refusal: Annotated[str | None, Aside] = None
    tool_calls: Any = None
    function_call: Any = None

    def parts(self) -> list[Part]:
        """The content as parts."""
        content = self.content if isinstance(self.content, list) else [self.content]
        return [Part(text=part) if isinstance(part, str) else part for part in content if part is not None]

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

    def thoughts(self) -> str | None:
        """The thinking, from the first place that has some: keys of their own, the parts, the details."""
        in_parts = [part for part in self.parts() if part.type in THINKING]
        own = (self.reasoning_content, self.reasoning, self.thinking)
        for held in (*own, in_parts, self.thinking_blocks, self.reasoning_details):
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


def _type_of(value: Any) -> Any:
    """A finish reason that an object gives as its type."""
    return value.get("type") if isinstance(value, dict) else value


class Choice(_Form):
    """One answer of a completion."""

    message: Message
    finish_reason: Annotated[str | None, Aside, BeforeValidator(_type_of)] = None


def _count_or_none(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS else None


Count = Annotated[int | None, BeforeValidator(_count_or_none)]


class Details(_Form):
    """What the tokens of an answer are for."""

    reasoning_tokens: Count = None


def _object(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


class Usage(_Form):
    """Tokens, as either API names them; what a server says in another way is unknown."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    completion_tokens_details: Annotated[Details, BeforeValidator(_object)] = Details()
    output_tokens_details: Annotated[Details, BeforeValidator(_object)] = Details()

    def asked(self) -> int | None:
        """Tokens of the prompt."""
        return _most(self.prompt_tokens, self.input_tokens)

    def answered(self) -> int | None:
        """Tokens of the answer with its thinking, which some servers count in the total only."""
        asked, answered = self.asked(), _most(self.completion_tokens, self.output_tokens)
        rest = (self.total_tokens or 0) - (asked or 0)
        if asked is None or rest < 0 or self.total_tokens is None:
            return answered
        thought = _most(self.completion_tokens_details.reasoning_tokens, self.output_tokens_details.reasoning_tokens)
        return rest if answered is None or rest == answered + (thought or 0) else answered


def _most(*counts: int | None) -> int | None:
    """The largest count that is known."""
    return max((count for count in counts if count is not None), default=None)


class Completion(_Form):
    """The body of an answered request."""

    choices: list[Choice] = Field(min_length=1)


class Item(_Form):
    """One item of a response's output: a message, reasoning, or what a tool does."""

    type: str = "message"
    content: Annotated[str | list[Part | None] | None, BeforeValidator(_as_list)] = None
    summary: Annotated[list[Annotated[Part | None, Aside]] | None, Aside] = None
    phase: str | None = None
    name: str | None = None

    def parts(self) -> list[Part]:
        """What it says, as parts of a message; none where a tool does something."""
        if self.type == "reasoning":
            words = _joined(self.content) or "\n\n".join(part.words() for part in self.summary or [] if part)
            return [Part(type="reasoning", text=words)]
        if self.type != "message":
            return []
        if self.phase == COMMENTARY:
            return [Part(type="reasoning", text=_joined(self.content))]
        if isinstance(self.content, str):
            return [Part(text=self.content)]
        return [part for part in self.content or [] if part is not None]


class Incomplete(_Form):
    """Why a response is not complete."""

    reason: str | None = None


class Response(_Form):
    """The body of an answered request of the Responses API."""

    output: list[Item]
    status: str | None = None
    incomplete_details: Incomplete | None = None

    def finish_reason(self) -> str | None:
        """Why the answer ended, as a completion says it; None where the server broke off."""
        if self.status in ("completed", None):
            return "stop"
        reason = self.incomplete_details.reason if self.incomplete_details else None
        return ENDS.get(plain(reason)) or (reason if refusal(reason) else None)

    def broken_off(self) -> str:
        """Why there is no finish reason."""
        reason = self.incomplete_details.reason if self.incomplete_details else None
        return reason or str(self.status)

    def message(self) -> Message:
        """What the model said, as the message of a completion."""
        parts = [part for item in self.output for part in item.parts()]
        thinking = [words for part in parts if part.type == "reasoning" and (words := part.words())]
        calls = [{"function": {"name": item.name}} for item in self.output if item.type == "function_call"]
        content: list[str | Part | None] = [part for part in parts if part.type != "reasoning"]
        return Message(content=content, reasoning_content="\n\n".join(thinking) or None, tool_calls=calls)


def _joined(words: str | Sequence[str | Part | None] | None) -> str:
    """The texts of parts, one after the other; "" where there are none."""
    if words is None or isinstance(words, str):
        return words or ""
    return "".join(part if isinstance(part, str) else part.words() for part in words if part is not None)
