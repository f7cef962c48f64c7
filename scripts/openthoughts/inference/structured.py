"""Structured output: the object that a model is asked for, the JSON schema that says so, and how an answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Form(BaseModel):
    """An object that a model is asked to answer with.

    The names and the docstring of a form are sent with every request and belong to the store's keys: a changed word
    asks again for everything.
    """

    model_config = ConfigDict(extra="forbid")


AnyForm = TypeVar("AnyForm", bound=Form)

OPENED, CLOSED = "<think>", "</think>"

MOST_BRACES, MOST_REPAIRS = 200, 20
"""So many opening braces are looked at, the first and the last ones, and so many broken objects: more are a loop."""

MOST_REPAIRED = 20_000
"""So many characters of broken objects are repaired, which takes their square in time."""


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
        what = f"{self.where}: {self.reason}" if self.where else self.reason
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
    """The filled form in an answer, whatever stands around it and wherever it was cut off: the last object that fits.

    Thinking is no answer: what stands before ``</think>`` does not count, nor does thinking that was never closed. Of
    an answer that was cut off, a value counts only where something follows it, so that a 1 that was cut off a 10 does
    not. Further members are passed over.
    """
    begin = 0
    if text.lstrip().startswith(OPENED):
        begin = text.find(CLOSED) + len(CLOSED)
        if begin < len(CLOSED):
            return Unreadable("the thinking was cut off", "", text)
    objects = [(begin + start, begin + end, value) for start, end, value in _objects(text[begin:])]
    for tag in re.finditer(CLOSED, text):
        if not any(start < tag.start() < end for start, end, _ in objects):
            begin = max(begin, tag.end())
    errors = []
    for start, _, value in reversed(objects):
        for filled in _fitting(form, value) if start >= begin else ():
            if not isinstance(filled, ValidationError):
                return filled
            errors.append(filled)
    if not errors:
        return Unreadable("no JSON object", "", text[begin:])
    first = errors[0].errors()[0]
    return Unreadable(first["msg"], ".".join(map(str, first["loc"])), text[begin:])


def _fitting(form: type[AnyForm], value: dict[str, Any]) -> Iterator[AnyForm | ValidationError]:
    """An object as the form, or why it is none, then the objects within it."""
    try:
        yield form.model_validate({name: value[name] for name in value if name in form.model_fields})
    except ValidationError as error:
        yield error
    for member in value.values():
        for inner in member if isinstance(member, list) else [member]:
            if isinstance(inner, dict):
                yield from _fitting(form, inner)


def _objects(text: str) -> list[tuple[int, int, dict[str, Any]]]:
    """The JSON objects of a text that are in no other, with where they begin and end.

    What is not quite JSON is repaired: a backslash of LaTeX, single quotes, a comma too many. Of one that is cut off
    there are the whole members and the string that is not whole.
    """
    objects: list[tuple[int, int, dict[str, Any]]] = []
    at, repairs, repaired = 0, 0, 0
    braces = [match.start() for match in re.finditer(r"\{", text)]
    for begin in braces if len(braces) <= 2 * MOST_BRACES else braces[:MOST_BRACES] + braces[-MOST_BRACES:]:
        if begin < at:
            continue
        value, end = _strict_object(text, begin)
        if value is None or _lost_backslash(text[begin:end]):
            written = text[begin : _closing_brace(text, begin) or len(text)]
            repaired += len(written)
            if ":" in written and repairs < MOST_REPAIRS and repaired <= MOST_REPAIRED:
                repairs += 1
                better, close = _repaired_object(text, begin)
                value, end = (value, end) if better is None else (better, close)
        if value is not None:
            objects.append((begin, end, value))
            at = end
    return objects


def _strict_object(text: str, begin: int) -> tuple[dict[str, Any] | None, int]:
    """The JSON object that begins at a brace, and where it ends; null where it is none."""
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None, begin
    return value, end


def _lost_backslash(text: str) -> bool:
    r"""Whether JSON would take a backslash of LaTeX for one of its own, as in ``\frac`` and ``\boxed``."""
    return re.search(r"(?<!\\)(?:\\\\)*\\[fb][a-z]", text) is not None


def _repaired_object(text: str, begin: int) -> tuple[dict[str, Any] | None, int]:
    """The same of what is not quite JSON."""
    import json_repair

    end = _closing_brace(text, begin)
    written = text[begin : end or len(text)]
    try:
        value = json_repair.loads(written, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None, begin
    if not isinstance(value, dict):
        return None, begin
    return (value if end else _without_cut_number(value, written)), end or len(text)


def _closing_brace(text: str, begin: int) -> int | None:
    """Where the brace that opens at ``begin`` is closed again; null where it is not."""
    depth = 0
    for match in re.finditer(r"[{}]", text[begin:]):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return begin + match.end()
    return None


def _without_cut_number(value: dict[str, Any], text: str) -> dict[str, Any]:
    last = next(reversed(value), None)
    if last is None or not re.search(r"[\d.eE+-]\s*$", text):
        return value
    inner = value[last]
    if isinstance(inner, list) and inner and isinstance(inner[-1], dict):
        return {**value, last: [*inner[:-1], _without_cut_number(inner[-1], text)]}
    if isinstance(inner, dict):
        return {**value, last: _without_cut_number(inner, text)}
    return {name: member for name, member in value.items() if name != last or not isinstance(member, int | float)}


def shortened(text: str) -> str:
    """A text on one line, cut to 80 characters, as a message shows it."""
    words = " ".join(text.split())
    return repr(words if len(words) <= 80 else words[:77] + "...")
