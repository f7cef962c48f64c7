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

from openthoughts.base.reasoning import TAG_NAMES


class Form(BaseModel):
    """An object that a model is asked to answer with.

    The names and the docstring of a form are sent with every request and belong to the store's keys: a changed word
    asks again for everything.
    """

    model_config = ConfigDict(extra="forbid")


AnyForm = TypeVar("AnyForm", bound=Form)

_THINKING = f"(?:begin_of_|end_of_)?(?:{'|'.join(TAG_NAMES)}|reflection|analysis|scratchpad)"
OPENED = re.compile(
    rf"<\|?(?!end_of_){_THINKING}\s*\|?>|\[THINK\]|◁think▷|<\|channel\|>analysis<\|message\|>|^Thinking\.\.\.$",
    re.IGNORECASE | re.MULTILINE,
)
CLOSED = re.compile(
    rf"</{_THINKING}\s*>|<\|end_of_thought\|>|\[/THINK\]|◁/think▷|<\|channel\|>final<\|message\|>"
    r"|\.\.\.done thinking\.",
    re.IGNORECASE,
)
"""Where the thinking of an answer begins and ends."""

MOST_BRACES = 200
"""So many opening braces are looked at, the first and the last ones: more of them are a model's loop."""

MOST_DEPTH = 50
"""An object deeper in others is a model's loop."""

MOST_MARKS = 2_000
"""So many quotes and brackets of broken objects are repaired per answer; a repair takes their square in time."""

MOST_SCANNED = 100_000
"""So many quotes and braces are looked at, per answer, to find where broken objects end."""

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
    text = _with_backslashes(text)
    objects = _objects(text)
    begin = _end_of_thinking(text, objects)
    if begin is None:
        return Unreadable("the thinking was cut off", "", text)
    needed = {name for name, field in form.model_fields.items() if field.is_required()}
    answers = [each for each in objects if each.begin >= begin]
    unfit: Unreadable | None = None
    for each in reversed(answers):
        inner = _outermost(each.value, needed)
        was_cut = each.is_cut and (bool(inner) or _names_a_member(form, text[each.begin :]))
        if not inner and not was_cut:
            continue
        if is_cut and not each.is_cut and not _is_end(text[each.end :]):
            return Unreadable("the answer was cut off", "", text[begin:])
        found = _agreed(form, inner or [each.value], text[begin:])
        if was_cut or not isinstance(found, Unreadable):
            return found
        unfit = unfit or found
    if unfit is None and answers:  # what is missing
        return _agreed(form, [answers[-1].value], text[begin:])
    return unfit or Unreadable("no JSON object", "", text[begin:])


def _is_end(rest: str) -> bool:
    """Whether nothing follows an object but what closes a block."""
    return not rest.strip(" \t\n\r`")


def _end_of_thinking(text: str, objects: Sequence[Found]) -> int | None:
    """Where the answer begins; null where thinking was not closed. A tag in an object is a word of the answer."""

    def outside(pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        for tag in pattern.finditer(text):
            if not any(each.begin < tag.start() < each.end and not each.is_cut for each in objects):
                yield tag

    opened, begin = -1, 0
    tags = [(tag.start(), tag.end(), True) for tag in outside(OPENED)]
    tags += [(tag.start(), tag.end(), False) for tag in outside(CLOSED)]
    for start, end, opens in sorted(tags):
        if opens:
            opened = start
        else:
            opened, begin = -1, end
    return None if opened >= 0 else begin


def _names_a_member(form: type[Form], written: str) -> bool:
    """Whether what is left of an object that was cut off has the name of a member."""
    return any(re.search(rf"\b{re.escape(name)}\b", written, re.IGNORECASE) for name in form.model_fields)


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
    of = re.fullmatch(r"(.*?\S)\s*(?:/|out of|of)\s*(\d+)", digits)
    most = [limit.le for limit in limits if isinstance(limit, Le)]
    return of[1] if of and most == [int(of[2])] else digits


@dataclass(frozen=True)
class Found:
    """A JSON object of a text, and where it begins and ends."""

    begin: int
    end: int
    value: dict[str, Any]
    is_cut: bool = False
    """Whether it is never closed."""


def _objects(text: str) -> list[Found]:
    """The JSON objects of a text that are in no other.

    What is not quite JSON is repaired: a backslash of LaTeX, single quotes, a comma too many. Of one that is cut off
    there are the whole members and the string that is not whole.
    """
    objects: list[Found] = []
    at, marks, scan = 0, 0, _Scan(text)
    braces = [match.start() for match in re.finditer(r"\{", text)]
    for begin in braces if len(braces) <= 2 * MOST_BRACES else braces[:MOST_BRACES] + braces[-MOST_BRACES:]:
        if begin < at:
            continue
        value, end = _strict_object(text, begin)
        closing: int | None = end
        if value is None:
            closing = scan.closing_brace(begin)
            end = closing or len(text)
            written = text[begin:end] if marks <= MOST_MARKS else ""
            marks += len(_MARK.findall(written)) if ":" in written else 0
            if ":" in written and marks <= MOST_MARKS:
                value = _repaired_object(written, closing is None)
        if value is not None:
            objects.append(Found(begin, end, value, closing is None))
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
    except Exception:  # a repair may fail in as many ways as a program
        return None
    if not isinstance(value, dict):
        return None
    whole = _as_written(value, written)
    if is_cut and not re.search(r"[,\]}]\s*$", written):
        whole = _without_cut_end(whole)
    return dict(whole)


_CLEAN = re.compile(
    r"""["'“`*\s]*[+-]?(?:[0-9][0-9_]*(?:\.[0-9]*)?|true|false)["'”`*,\s]*(?:(?://|\#|/\*).*|\([^\d]*)?\s*""",
    re.IGNORECASE | re.DOTALL,
)
"""A number or a truth value and nothing else, but for quotes, emphasis and a remark."""


def _as_written(value: Any, written: str) -> Any:
    """A repaired object in which a number that was more than a number ("6 to 7", "3, 7") is its text again."""
    if isinstance(value, list):
        return [_as_written(member, written) for member in value]
    if not isinstance(value, dict):
        return value
    return {
        name: (_unclean(name, written) or member) if isinstance(member, int | float) else _as_written(member, written)
        for name, member in value.items()
    }


def _unclean(name: str, written: str) -> str | None:
    """What a member of a broken object is given as, where that is not one number or truth value."""
    member = rf"""["'“`]?{re.escape(name)}["'”`]?\s{{0,9}}:(.{{0,200}}?)"""
    ends = r"""(?:,\s{0,99}["'“`]?[\w ]{1,60}["'”`]?\s{0,9}:|,?\s{0,99}[\]}]|\Z)"""
    for match in re.finditer(f"{member}(?={ends})", written, re.DOTALL):
        if not _CLEAN.fullmatch(match[1]):
            return match[1].strip()
    return None


class _Scan:
    """Finds where broken objects of a text end, in bounded time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._left = MOST_SCANNED

    def closing_brace(self, begin: int) -> int | None:
        """Where the brace that opens at ``begin`` is closed again; null where it is not, or that takes too long."""
        for wanted in (_OUTSIDE_STRINGS, _ANYWHERE):
            depth = 0
            for match in wanted.finditer(self._text, begin):
                self._left -= 1
                if self._left < 0:
                    return None
                depth += {"{": 1, "}": -1}.get(match[0], 0)
                if depth == 0:
                    return match.end()
        return None


_OUTSIDE_STRINGS, _ANYWHERE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL), re.compile(r"[{}]")
"""Braces, and strings with what is in them; in a broken object the quotes may belong to nothing."""

_NUMBERLIKE = re.compile(r"\s*[+-]?\d.{0,20}", re.DOTALL)


def _without_cut_end(value: Any) -> Any:
    """An object that was cut off, without a number that stood at its end, in whatever object or list."""
    if isinstance(value, list) and value:
        return [*value[:-1], _without_cut_end(value[-1])]
    if not isinstance(value, dict) or not value:
        return value
    last = next(reversed(value))
    inner = value[last]
    if isinstance(inner, int | float) or (isinstance(inner, str) and _NUMBERLIKE.fullmatch(inner)):
        return {name: member for name, member in value.items() if name != last}
    return {**value, last: _without_cut_end(inner)}


def shortened(text: str) -> str:
    """A text on one line, cut to 80 characters, as a message shows it."""
    words = " ".join(text.split())
    return repr(words if len(words) <= 80 else words[:77] + "...")
