"""Labels of questions: what is asked for, and how an answer is read. Raw answers stay in the completions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openthoughts.base.cli import UserError
from openthoughts.inference.structured import ResponseSchema, find_object, shortened

METHODS = ("difficulty", "response_length", "ask_llm")
"""Labels that are read out of a model's answers."""

UNITS = ("tokens", "characters")
"""What a response's length is counted in."""


class Difficulty(BaseModel):
    """How hard a problem is, on the scale that the prompt describes."""

    model_config = ConfigDict(extra="forbid")

    difficulty: int = Field(ge=1, le=10)
    reasoning: str = ""


class Worth(BaseModel):
    """How much a question is worth training on."""

    model_config = ConfigDict(extra="forbid")

    response: float = Field(ge=1, le=100)
    reasoning: str = ""


_ANSWERS: dict[str, type[BaseModel]] = {"difficulty": Difficulty, "ask_llm": Worth}
_VALUES = {"difficulty": "difficulty", "ask_llm": "response"}


@dataclass(frozen=True)
class Label:
    """What an answer says: a value and why, or the reason why it says nothing."""

    value: float | None
    rationale: str | None = None
    error: str | None = None


def response_schema(method: str) -> ResponseSchema | None:
    """The structured output that a method asks for; None where the answer is free text."""
    _check_method(method)
    if method not in _ANSWERS:
        return None
    schema = _ANSWERS[method].model_json_schema()
    for part in schema["properties"].values():
        part.pop("default", None)
    return ResponseSchema(method, {**schema, "required": list(schema["properties"])})


def needs_prompt(method: str) -> bool:
    """Whether the bare question is no way to ask for the label."""
    _check_method(method)
    return method in _ANSWERS


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise UserError(f"there is no labelling method {method}: choose one of {', '.join(METHODS)}.")


def read_label(method: str, completion: dict[str, Any], unit: str = "tokens") -> Label:
    """The label in one row of completions (columns of ``COMPLETIONS``); ``unit`` is that of a response's length."""
    if completion["error"] is not None or completion["text"] is None:
        return Label(None, None, completion["error"] or "no answer")
    if method == "response_length" and unit == "characters":
        return Label(float(len(completion["text"])))
    if method == "response_length":
        tokens = completion["completion_tokens"]
        return Label(None, None, "the server did not count tokens") if tokens is None else Label(float(tokens))
    return read_structured(method, completion["text"])


def read_structured(method: str, text: str) -> Label:
    """The label in an answer that should be a JSON object, whatever stands around it and wherever it was cut.

    A value counts only where something follows it, so that a 1 that was cut off a 10 does not.
    """
    body = re.sub(r"^.*</think>", "", text, flags=re.DOTALL)
    found = find_object(body)
    if found is None:
        return Label(None, None, f"unparseable: no JSON object in {shortened(body)}")
    try:
        answer = _ANSWERS[method].model_validate(
            {name: value for name, value in found.items() if name in _ANSWERS[method].model_fields}
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return Label(None, None, f"unparseable: {place}: {first['msg']} in {shortened(body)}")
    return Label(float(getattr(answer, _VALUES[method])), getattr(answer, "reasoning", "").strip() or None)
