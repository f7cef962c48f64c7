"""Labels of questions: what is asked for, and how an answer is read. Raw answers stay in the completions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from openthoughts.base.cli import UserError
from openthoughts.inference.read_back import completion_rows
from openthoughts.inference.structured import Form, ResponseSchema, Unreadable, failure, read_answer

METHODS = ("difficulty", "response_length", "ask_llm")
"""Labels that are read out of a model's answers."""

UNITS = ("tokens", "characters")
"""What a response's length is counted in."""


class Difficulty(Form):
    """How hard a problem is, on the scale that the prompt describes."""

    difficulty: int = Field(ge=1, le=10)
    reasoning: str = ""


class Worth(Form):
    """How much a question is worth training on."""

    response: float = Field(ge=1, le=100)
    reasoning: str = ""


_ANSWERS: dict[str, type[Difficulty | Worth]] = {"difficulty": Difficulty, "ask_llm": Worth}
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
    return ResponseSchema.of(_ANSWERS[method], method) if method in _ANSWERS else None


def needs_prompt(method: str) -> bool:
    """Whether the bare question is no way to ask for the label."""
    _check_method(method)
    return method in _ANSWERS


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise UserError(f"there is no labelling method {method}: choose one of {', '.join(METHODS)}.")


def read_label(method: str, completion: dict[str, Any], unit: str = "tokens") -> Label:
    """The label in one row of completions (columns of ``COMPLETIONS``); ``unit`` is that of a response's length."""
    failed = failure(completion)
    if failed is not None:
        return Label(None, None, failed)
    if method == "response_length" and unit == "characters":
        return Label(float(len(completion["text"])))
    if method == "response_length":
        tokens = completion["completion_tokens"]
        return Label(None, None, "the server did not count tokens") if tokens is None else Label(float(tokens))
    return read_structured(method, completion["text"])


def read_structured(method: str, text: str) -> Label:
    """The label in an answer that should be a JSON object (``structured.read_answer``)."""
    answer = read_answer(_ANSWERS[method], text)
    if isinstance(answer, Unreadable):
        return Label(None, None, f"unparseable: {answer.detail}")
    return Label(float(getattr(answer, _VALUES[method])), answer.reasoning.strip() or None)


def unreadable(completions: Path, method: str) -> list[str]:
    """The ids of the questions to which answers came, but none that can be read."""
    ended: dict[str, bool] = {}
    for row in completion_rows([completions]):
        known = ended.get(row["question_id"], False)
        ended[row["question_id"]] = known or row["error"] is not None or read_label(method, row).error is None
    return [question for question, known in ended.items() if not known]
