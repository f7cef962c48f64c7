"""Answers that a model judges by the rubric of a prompt: its verdict is asked for beforehand, and read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openthoughts.grading.extraction import after_reasoning
from openthoughts.grading.item import Item

if TYPE_CHECKING:
    from openthoughts.inference.structured import ResponseSchema

PASSES = "passes"


def verdict_schema() -> ResponseSchema:
    """The structured output that a judge is asked for."""
    from openthoughts.inference.structured import ResponseSchema

    properties = {"reasoning": {"type": "string"}, PASSES: {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return ResponseSchema("verdict", schema)


def read_verdict(text: str) -> bool | None:
    """Whether a judge lets an answer pass; null where that cannot be read."""
    from openthoughts.inference.structured import find_object

    verdict: Any = (find_object(text.rpartition("</think>")[2]) or {}).get(PASSES)
    return verdict if isinstance(verdict, bool) else None


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
