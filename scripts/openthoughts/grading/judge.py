"""Answers that a model judges by the rubric of a prompt: its verdict is asked for beforehand, and read here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from openthoughts.base.reasoning import after_reasoning
from openthoughts.grading.item import Item
from openthoughts.inference.structured import Form, ResponseSchema, Unreadable, read_answer


def _bare(schema: dict[str, Any]) -> None:
    """Leave out the titles and the description: judges have been asked without them."""
    for part in (schema, *schema["properties"].values()):
        part.pop("title", None)
        part.pop("description", None)


class Verdict(Form):
    """Whether an answer passes."""

    model_config = ConfigDict(strict=True, json_schema_extra=_bare)

    reasoning: Annotated[str, BeforeValidator(lambda told: told if isinstance(told, str) else "")] = ""
    passes: bool


def verdict_schema() -> ResponseSchema:
    """The structured output that a judge is asked for."""
    return ResponseSchema.of(Verdict, "verdict")


def read_verdict(text: str) -> bool | None:
    """Whether a judge lets an answer pass; null where that cannot be read."""
    verdict = read_answer(Verdict, text)
    return None if isinstance(verdict, Unreadable) else verdict.passes


def grade(response: str, item: Item) -> tuple[str | None, float | None]:
    """What the judge said, and 1 where the answer passes, else 0; null where there was no answer to judge.

    Raises ``ValueError`` where the judge was asked and its verdict is missing or cannot be read: the score is unknown.
    """
    if not (after_reasoning(response) or "").strip():
        return None, None
    passes = None if item.judgement is None else read_verdict(item.judgement)
    if passes is None:
        raise ValueError("the judge gave no verdict that can be read")
    return str(item.judgement)[:2000], float(passes)
