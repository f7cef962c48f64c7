"""Structured output: the object that a model is asked for, the JSON schema that says so, and how an answer is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from annotated_types import Le
from pydantic import BaseModel, ConfigDict, ValidationError

from openthoughts.base.reasoning import TAG_NAMES
from openthoughts.inference.json_objects import Found, key_of, objects_in, with_backslashes


class Form(BaseModel):
    """An object that a model is asked to answer with.

    The names and the docstring of a form are sent with every request and belong to the store's keys: a changed word
    asks again for everything.
    """

    model_config = ConfigDict(extra="forbid")


AnyForm = TypeVar("AnyForm", bound=Form)

_NAMES = "|".join(TAG_NAMES)
_CLOSED_ONLY = "reflection|analysis|scratchpad|thoughts|thought_process|reasoning_process|inner_monologue"
OPENED = re.compile(
    rf"<\|?(?:begin_of_)?(?:{_NAMES})\s*\|?>|\[THINK\]|◁think▷|<\|channel\|>analysis<\|message\|>|^Thinking\.\.\.$",
    re.IGNORECASE | re.MULTILINE,
)
CLOSED = re.compile(
    rf"</(?:{_NAMES}|{_CLOSED_ONLY})\s*>|<\|end_of_thought\|>|\[/THINK\]|◁/think▷"
    r"|<\|channel\|>final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>|\.\.\.done thinking\.",
    re.IGNORECASE,
)
"""Where the thinking of an answer begins and ends."""

_LEAD = re.compile("(?:[\\s`\ufeff\u200b]|json\\b|<answer>|<\\|im_start\\|>|assistant\n)*", re.IGNORECASE)
"""What may stand before an answer."""

_TAIL = re.compile(r"(?:[\s`*.]|</\w{1,20}>|<\|\w{1,30}\|>)*")
"""What may stand after an answer: the end of a block, of a tag, of the turn."""

MOST_DEPTH = 50
"""An object deeper in others is a model's loop."""


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


def read_completion(form: type[AnyForm], completion: Mapping[str, Any]) -> AnyForm | Unreadable:
    """The filled form in a row of completions that has a text."""
    return read_answer(form, completion["text"], completion.get("finish_reason") == "length")


def read_answer(form: type[AnyForm], text: str, is_cut: bool = False) -> AnyForm | Unreadable:
    """The filled form in an answer, whatever stands around it and wherever it was cut off: that of the last object.

    Thinking is no answer: what stands before ``</think>`` does not count, nor does thinking that was never closed. The
    last object that fills the form is the answer, unless one follows that was cut off; objects within one that do not
    agree are none. Of an object that was cut off, a value counts only where something follows it, so that a 1 that was
    cut off a 10 does not; with ``is_cut`` (by the token limit) an object counts only where no text follows it. Further
    members are passed over, and so are those of the form that have a default and do not fit.
    """
    text = with_backslashes(text)
    begin, objects = _after_thinking(text, frozenset(form.model_fields))
    if begin is None:
        return Unreadable("the thinking was cut off", "", text)
    needed = {name for name, field in form.model_fields.items() if field.is_required()}
    unfit: Unreadable | None = None
    for each in reversed(objects):
        inner = _outermost(each.value, needed)
        was_cut = each.is_cut and (bool(inner) or _names_a_member(form, text[each.begin :]))
        if not inner and not was_cut:
            if not each.is_strict and any(key_of(name).search(text, each.begin, each.end) for name in needed):
                return Unreadable("an object that cannot be read", "", text[begin:])
            continue
        found = _agreed(form, inner or [each.value], text[begin:])
        if is_cut and not each.is_cut and not _is_whole(text, begin, each, objects):
            return Unreadable("the answer was cut off", "", text[begin:])
        if was_cut or not isinstance(found, Unreadable):
            return found
        unfit = unfit or found
    if unfit is None and objects:  # what is missing
        return _agreed(form, [objects[-1].value], text[begin:])
    return unfit or Unreadable("no JSON object", "", text[begin:])


def _is_whole(text: str, begin: int, found: Found, objects: Sequence[Found]) -> bool:
    """Whether an object is the answer although the text was cut: it ends or begins it, or is a block of its own."""
    first = next(each for each in objects if each.value == found.value)
    is_first = _LEAD.fullmatch(text, begin, first.begin) is not None
    before, after = text[: found.begin].rstrip(), text[found.end :].lstrip()
    is_block = before.endswith(("```json", "```")) and after.startswith("```")
    return is_first or is_block or _TAIL.fullmatch(text, found.end) is not None


def _after_thinking(text: str, names: frozenset[str]) -> tuple[int | None, list[Found]]:
    """Where the answer begins, and its objects; null where thinking at the beginning was not closed.

    A tag in a string of an object is a word of the answer. What follows thinking that was opened later and not closed
    is no answer; where the tag stands in the middle of a line, an object at the very end is one.
    """
    begin = 0
    while opened := OPENED.match(text, _end_of_lead(text, begin)):
        closed = CLOSED.search(text, opened.end())
        if closed is None:
            return None, []
        begin = closed.end()
    objects = objects_in(text, begin, names)
    last = next((tag for tag in reversed([*CLOSED.finditer(text, begin)]) if not _is_inside(tag, objects, names)), None)
    if last is not None:
        begin = last.end()
        objects = objects_in(text, begin, names)
    tag = next((tag for tag in OPENED.finditer(text, begin) if not _is_inside(tag, objects, names)), None)
    if tag is None:
        return begin, objects
    is_word = text[: tag.start()].rpartition("\n")[2].strip() != ""
    return begin, [
        each
        for each in objects
        if each.end <= tag.start() or (is_word and not each.is_cut and _TAIL.fullmatch(text, each.end))
    ]


def _end_of_lead(text: str, begin: int) -> int:
    """Where what may stand before an answer ends."""
    lead = _LEAD.match(text, begin)
    return lead.end() if lead else begin


def _is_inside(tag: re.Match[str], objects: Sequence[Found], names: frozenset[str]) -> bool:
    """Whether a tag stands in an object: in a broken one after its last brace, in one that was cut after a member."""

    def holds(each: Found) -> bool:
        text = tag.string
        is_last = each.is_strict or text.find("{", tag.end(), each.end) < 0
        named = not each.is_cut or any(key_of(name).search(text, each.begin, tag.start()) for name in names)
        return is_last and named

    return any(each.begin < tag.start() < each.end and holds(each) for each in objects)


def _names_a_member(form: type[Form], written: str) -> bool:
    """Whether what is left of an object that was cut off begins with a member's name."""
    return any(key_of(name).match(written) for name in form.model_fields)


def _named(value: Any, names: set[str]) -> bool:
    """Whether an object has one of these members, whatever the case of their names."""
    return isinstance(value, dict) and not names.isdisjoint({*value, *(name.strip().lower() for name in value)})


def _outermost(value: Any, names: set[str], depth: int = 0) -> list[dict[str, Any]]:
    """An object that has one of the members, else those within it, in lists too, that are in no other such object."""
    if _named(value, names):
        return [value]
    if depth >= MOST_DEPTH or not isinstance(value, dict | list):
        return []
    within = value.values() if isinstance(value, dict) else value
    return [found for member in within for found in _outermost(member, names, depth + 1)]


def _agreed(form: type[AnyForm], objects: Sequence[dict[str, Any]], text: str) -> AnyForm | Unreadable:
    """The form that every object fills with the same needed members, or why there is none."""
    filled = [_filled(form, each) for each in objects]
    for each in filled:
        if isinstance(each, ValidationError):
            first = each.errors()[0]
            return Unreadable(first["msg"], ".".join(map(str, first["loc"])), text)
    whole = [each for each in filled if not isinstance(each, ValidationError)]
    needed = {name for name, field in form.model_fields.items() if field.is_required()}
    if any(each.model_dump(include=needed) != whole[0].model_dump(include=needed) for each in whole):
        return Unreadable("several objects that do not agree", "", text)
    return whole[-1]


def _filled(form: type[AnyForm], value: dict[str, Any]) -> AnyForm | ValidationError:
    """An object as the form, without the members that have a default and do not fit, or why it is none."""
    members = _members(form, value)
    try:
        return form.model_validate(members)
    except ValidationError as error:
        wrong = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
    kept = {name: members[name] for name in members if name not in wrong or form.model_fields[name].is_required()}
    try:
        return form.model_validate(kept)
    except ValidationError as error:
        return error


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
    most = [limit.le for limit in limits if isinstance(limit, Le)]
    of = re.fullmatch(r"(.*?\S)\s*(?:/|out of|of)\s*(\d+)", digits.removesuffix("%") + ("/100" * digits.endswith("%")))
    return of[1] if of and most == [int(of[2])] else digits


def shortened(text: str) -> str:
    """A text on one line, cut to 80 characters, as a message shows it."""
    words = " ".join(text.split())
    return repr(words if len(words) <= 80 else words[:77] + "...")
