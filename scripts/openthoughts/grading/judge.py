"""The verdict that a judge is asked for, and how it is read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

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
