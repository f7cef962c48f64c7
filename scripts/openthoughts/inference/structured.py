"""Structured output: the object that a model is asked for, the JSON schema that says so, and how an answer is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from openthoughts.base.reasoning import after_reasoning


class Form(BaseModel):
    """An object that a model is asked to answer with.

    The names and the docstring of a form are sent with every request and belong to the store's keys: a changed word
    asks again for everything.
    """

    model_config = ConfigDict(extra="forbid")


AnyForm = TypeVar("AnyForm", bound=Form)


@dataclass(frozen=True)
class Unreadable:
    """Why an answer does not fill a form."""

    reason: str
    where: str
    """The member at fault; empty where there is no object at all."""
    text: str
    """The answer without its reasoning."""

    @property
    def detail(self) -> str:
        """The reason with the place and the answer's beginning."""
        what = f"{self.where}: {self.reason}" if self.where else "no JSON object"
        return f"{what} in {shortened(self.text)}"


@dataclass(frozen=True)
class ResponseSchema:
    """A JSON schema that answers must follow (structured output)."""

    name: str
    schema: Mapping[str, Any]

    @classmethod
    def of(cls, form: type[Form], name: str) -> ResponseSchema:
        """The schema of a form, in which every member is required."""
        schema = form.model_json_schema()
        for part in schema["properties"].values():
            part.pop("default", None)
        return cls(name, {**schema, "required": list(schema["properties"])})

    def response_format(self) -> dict[str, Any]:
        """The request's ``response_format``."""
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, "schema": dict(self.schema), "strict": True},
        }


def failure(completion: Mapping[str, Any]) -> str | None:
    """Why a row of completions has no text; null where it has one."""
    failed = completion["error"] is not None or completion["text"] is None
    return (completion["error"] or "no answer") if failed else None


def read_answer(form: type[AnyForm], text: str) -> AnyForm | Unreadable:
    """The filled form in an answer, whatever stands around it and wherever it was cut off.

    A value counts only where something follows it, so that a 1 that was cut off a 10 does not. Further members are
    passed over.
    """
    answer = after_reasoning(text)
    body = text if answer is None else answer
    found = find_object(body)
    try:
        return form.model_validate(found and {name: found[name] for name in found if name in form.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        return Unreadable(first["msg"], ".".join(map(str, first["loc"])), body)


def find_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text; of one that is cut off, its whole members and the string that is not whole."""
    from pydantic_core import from_json

    for match in re.finditer(r"\{", text):
        candidate = text[match.start() :]
        for end in (len(candidate), candidate.rfind("}") + 1):
            try:
                value = from_json(candidate[:end], allow_partial="trailing-strings")
            except ValueError:
                continue
            if isinstance(value, dict) and value:
                return _without_cut_number(value, candidate[:end])
    return None


def _without_cut_number(value: dict[str, Any], text: str) -> dict[str, Any]:
    last = next(reversed(value))
    if isinstance(value[last], int | float) and re.search(r"[\d.eE+-]\s*$", text):
        return {name: member for name, member in value.items() if name != last}
    return value


def shortened(text: str) -> str:
    """A text on one line, cut to 80 characters, as a message shows it."""
    words = " ".join(text.split())
    return repr(words if len(words) <= 80 else words[:77] + "...")
