"""Structured output: the object that a model is asked for, the JSON schema that says so, and how an answer is read."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from annotated_types import Le
from pydantic import BaseModel, ConfigDict, ValidationError


class Form(BaseModel):
    """An object that a model is asked to answer with.

    The names and the docstring of a form are sent with every request and belong to the store's keys: a changed word
    asks again for everything.
    """

    model_config = ConfigDict(extra="forbid")


AnyForm = TypeVar("AnyForm", bound=Form)

OPENED = re.compile(r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\])", re.IGNORECASE)
CLOSED = re.compile(r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]", re.IGNORECASE)
"""Where the thinking of an answer begins and ends."""

MOST_BRACES = 200
"""So many opening braces are looked at, the first and the last ones: more of them are a model's loop."""

MOST_DEPTH = 50
"""An object deeper in others is a model's loop."""

MOST_MARKS = 2_000
"""So many quotes and brackets of broken objects are repaired per answer; a repair takes their square in time."""

_MARK = re.compile(r"""["'`“”{}\[\]]""")


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
    not. Further members are passed over, and so are those of the form that have a default and do not fit.
    """
    begin, text = 0, _with_backslashes(text)
    if OPENED.match(text):
        closed = CLOSED.search(text)
        if closed is None:
            return Unreadable("the thinking was cut off", "", text)
        begin = closed.end()
    objects = [(begin + start, begin + end, value) for start, end, value in _objects(text[begin:])]
    for tag in CLOSED.finditer(text):
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


def _fitting(form: type[AnyForm], value: Any, depth: int = 0) -> Iterator[AnyForm | ValidationError]:
    """An object as the form, or why it is none, then the objects within it, in lists too."""
    if isinstance(value, dict):
        members = _members(form, value)
        try:
            try:
                yield form.model_validate(members)
            except ValidationError as error:
                wrong = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
                yield form.model_validate(
                    {
                        name: members[name]
                        for name in members
                        if name not in wrong or form.model_fields[name].is_required()
                    }
                )
        except ValidationError as error:
            yield error
    for member in value.values() if isinstance(value, dict) else value:
        if isinstance(member, dict | list) and depth < MOST_DEPTH:
            yield from _fitting(form, member, depth + 1)


def _members(form: type[Form], value: dict[str, Any]) -> dict[str, Any]:
    """The members that a form has, whatever the case of their names; a number may be written as text."""
    names = {name.strip().lower(): name for name in value} | {name: name for name in value}
    found = {name: value[names[name]] for name in form.model_fields if name in names}
    for name, member in found.items():
        if form.model_fields[name].annotation in (int, float):
            found[name] = _number(member, form.model_fields[name].metadata)
    return found


def _number(written: Any, limits: Sequence[Any]) -> Any:
    """A number as text in ASCII digits, without "of 10" where 10 is the most; true and false are none."""
    if isinstance(written, bool):
        return str(written)
    if not isinstance(written, str):
        return written
    digits = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in written[:100])
    digits = digits.strip(" \t\n,;")
    of = re.fullmatch(r"(.*?\S)\s*(?:/|out of|of)\s*(\d+)", digits)
    most = [limit.le for limit in limits if isinstance(limit, Le)]
    return of[1] if of and most == [int(of[2])] else digits


def _objects(text: str) -> list[tuple[int, int, dict[str, Any]]]:
    """The JSON objects of a text that are in no other, with where they begin and end.

    What is not quite JSON is repaired: a backslash of LaTeX, single quotes, a comma too many. Of one that is cut off
    there are the whole members and the string that is not whole.
    """
    objects: list[tuple[int, int, dict[str, Any]]] = []
    at, marks = 0, 0
    braces = [match.start() for match in re.finditer(r"\{", text)]
    for begin in braces if len(braces) <= 2 * MOST_BRACES else braces[:MOST_BRACES] + braces[-MOST_BRACES:]:
        if begin < at:
            continue
        value, end = _strict_object(text, begin)
        if value is None:
            closing = _closing_brace(text, begin)
            written = text[begin : closing or len(text)]
            marks += len(_MARK.findall(written)) if ":" in written else 0
            if ":" in written and marks <= MOST_MARKS:
                value, end = _repaired_object(written, closing is None), begin + len(written)
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


_LATEX = re.compile(
    r"(?<!\\)((?:\\\\)*)\\(?=[bf][a-z]|(?:times|theta|tau|tan|text|tfrac|triangle|tilde|to|neq|nu|nabla|notin|neg|nmid|"
    r"rho|rightarrow|rangle|rfloor|rceil|right)(?![a-z]))"
)


def _with_backslashes(text: str) -> str:
    r"""A text in which JSON takes no backslash of LaTeX for one of its own, as in ``\frac`` and ``\times``."""
    return _LATEX.sub(r"\1\\\\", text)


def _repaired_object(written: str, is_cut: bool) -> dict[str, Any] | None:
    """The object in what is not quite JSON; null where there is none."""
    import json_repair

    try:
        value = json_repair.loads(written, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return _without_cut_number(value, written) if is_cut else value


def _closing_brace(text: str, begin: int) -> int | None:
    """Where the brace that opens at ``begin`` is closed again; null where it is not."""
    for wanted in (_OUTSIDE_STRINGS, _ANYWHERE):
        depth = 0
        for match in wanted.finditer(text, begin):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0:
                return match.end()
    return None


_OUTSIDE_STRINGS, _ANYWHERE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL), re.compile(r"[{}]")
"""Braces, and strings with what is in them; in a broken object the quotes may belong to nothing."""


def _without_cut_number(value: dict[str, Any], text: str) -> dict[str, Any]:
    """An object that was cut off, without a number that stood at its end, in whatever object or list."""
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
