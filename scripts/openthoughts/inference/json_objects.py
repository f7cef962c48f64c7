"""The JSON objects in what a model wrote, whatever stands around them, repaired where they are not quite JSON."""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_BRACES = 200
"""So many opening braces are looked at, the first and the last ones: more of them are a model's loop."""

MOST_MARKS = 900
"""So many quotes and brackets of broken objects are repaired per answer; a repair takes their square in time."""

MOST_TRIED = 400_000
"""So many characters of broken objects are read as something near JSON, per answer."""

MOST_SCANNED = 100_000
"""So many quotes and braces are looked at, per answer, to find where broken objects end."""

_MARK = re.compile(r"""["'`“”{}\[\]]""")


@dataclass(frozen=True)
class Found:
    """A JSON object of a text, and where it begins and ends."""

    begin: int
    end: int
    value: dict[str, Any]
    is_cut: bool = False
    """Whether it is never closed."""
    is_strict: bool = True
    """Whether it is JSON as it stands, but for backslashes, commas and the spelling of words."""


def objects_in(text: str, begin_at: int, names: frozenset[str]) -> list[Found]:
    """The JSON objects of a text, from a place on, that are in no other; ``names`` are members of the form.

    What is not quite JSON is repaired: a backslash of LaTeX, single quotes, a comma too many. Of one that is cut off
    there are the whole members and the string that is not whole. One that cannot be repaired and has a member's name
    is there without members: what is in it is no object of its own.
    """
    reader, objects, at = _Reader(text, names), list[Found](), begin_at
    braces = [match.start() for match in re.compile(r"\{").finditer(text, begin_at)]
    for begin in braces if len(braces) <= 2 * MOST_BRACES else braces[:MOST_BRACES] + braces[-MOST_BRACES:]:
        if begin >= at and (found := reader.object_at(begin)) is not None:
            objects.append(found)
            at = found.end
    return objects


class _Reader:
    """Reads the objects of one text, broken ones in bounded time over all."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._text = text
        self._names = names
        self._scanned = self._tried = self._marks = 0

    def object_at(self, begin: int) -> Found | None:
        """The object that begins at a brace; null where there is none."""
        value, end = _strict_object(self._text, begin)
        if value is not None:
            return Found(begin, end, value)
        closing = self._closing_brace(begin)
        end = closing or len(self._text)
        if self._marks > MOST_MARKS or ":" not in (written := self._text[begin:end]):
            return None
        self._tried += len(written)
        if closing and self._tried <= MOST_TRIED and (value := _nearly_json(written)) is not None:
            return Found(begin, end, value)
        self._marks += len(_MARK.findall(written))
        value = _repaired_object(written, closing is None, self._names) if self._marks <= MOST_MARKS else None
        if value is None and any(key_of(name).search(written) for name in self._names):
            value = {}
        return None if value is None else Found(begin, end, value, closing is None, is_strict=False)

    def _closing_brace(self, begin: int) -> int | None:
        """Where the brace that opens at ``begin`` is closed again; null where it is not, or that takes too long."""
        for wanted in (_OUTSIDE_STRINGS, _ANYWHERE):
            depth = 0
            for match in wanted.finditer(self._text, begin):
                self._scanned += 1
                if self._scanned > MOST_SCANNED:
                    return None
                depth += {"{": 1, "}": -1}.get(match[0], 0)
                if depth == 0:
                    return match.end()
        return None


_OUTSIDE_STRINGS, _ANYWHERE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}]', re.DOTALL), re.compile(r"[{}]")
"""Braces, and strings with what is in them; in a broken object the quotes may belong to nothing."""


def _strict_object(text: str, begin: int) -> tuple[dict[str, Any] | None, int]:
    """The JSON object that begins at a brace, and where it ends; null where it is none."""
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None, begin
    return value, end


_ESCAPE = re.compile(r"""\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)""")
_WORDS = (re.compile(r"\btrue\b"), "True"), (re.compile(r"\bfalse\b"), "False"), (re.compile(r"\bnull\b"), "None")


def _nearly_json(written: str) -> dict[str, Any] | None:
    """A whole object with a backslash or a comma too many, in Python's spelling, or escaped as a text; null else.

    Its strings are whole, so nothing in them is taken for a member.
    """
    plain = _ESCAPE.sub(lambda found: found[0] if found[1] else r"\\", written)
    plain = re.sub(r",\s*\}$", "}", plain)
    python = functools.reduce(lambda text, word: word[0].sub(word[1], text), _WORDS, written)
    escaped = written.replace("\\n", " ").replace('\\"', '"')
    for read, text in ((json.JSONDecoder(strict=False).decode, plain), (ast.literal_eval, python)):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes that Python does not know
                value = read(text)
            if isinstance(value, dict) and all(isinstance(name, str) for name in value):
                return value
    return _strict_object(escaped, 0)[0] if escaped != written else None


_LATEX = re.compile(
    r"(?<!\\)((?:\\\\)*)\\(?=[bf][a-z]|(?:times|theta|tau|tan|text|tfrac|triangle|tilde|to|neq|nu|nabla|notin|neg|nmid|"
    r"rho|rightarrow|rangle|rfloor|rceil|right)(?![a-z]))"
)


def with_backslashes(text: str) -> str:
    r"""A text in which JSON takes no backslash of LaTeX for one of its own, as in ``\frac`` and ``\times``."""
    return _LATEX.sub(r"\1\\\\", text)


def _repaired_object(written: str, is_cut: bool, names: frozenset[str]) -> dict[str, Any] | None:
    """The object in what is not quite JSON; null where there is none."""
    import json_repair

    try:
        value = json_repair.loads(written, skip_json_loads=True)
    except Exception:  # a repair may fail in as many ways as a program
        return None
    if not isinstance(value, dict):
        return None
    whole = _as_written(value, {name: _given(name, written) for name in names})
    if is_cut and not _FOLLOWED.search(written):
        whole = _without_cut_end(whole)
        cut = [name for name in names if _is_cut_at(name, written)]  # a name that is there twice stands first
        whole = {name: member for name, member in whole.items() if name.strip().lower() not in cut}
    return dict(whole)


def _is_cut_at(name: str, written: str) -> bool:
    """Whether a number of that name is what a broken object ends with."""
    last = max((key.end() for key in key_of(name).finditer(written)), default=len(written))
    return re.fullmatch(r"""\s*["'“]?[+-]?\d[\d.]*\s*""", written[last:]) is not None


_FOLLOWED = re.compile(r"""(?:[\]}"'`]|,\s{0,99}(?:["'“][\w ]{0,60}["'”]?)?)\s*$""")
"""What stands after a last member that is whole: its own end, or the beginning of the next one's name."""

_CLEAN = re.compile(
    r"""["'“`*$<\s]*([+-]?(?:[0-9][0-9_]*(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|true|false))["'”`*$>,;\s]*"""
    r"(?:(?://|\#|/\*).*|\((?:[^\d]*|\s*(?:out )?(?:of|from|1\s*[-–]|/)\s*10+\s*)\))?[\s`]*",
    re.IGNORECASE | re.DOTALL,
)
"""A number or a truth value and nothing else, but for quotes, emphasis and a remark."""

_VALUE_ENDS = re.compile(
    r"""[,;]?\s{0,99}\\{0,4}["'“`][\w ]{1,60}\\{0,4}["'”`]\s{0,9}:"""  # the next member
    r"""|[,;\n]\s{0,99}[\w ]{1,60}:|,?\s{0,99}[\]}]|\s*```|,?\s{0,99}\.\.\.|,\s{0,99}["'“][\w ]{0,60}["'”]?\s*\Z|\Z"""
)
LONGEST_VALUE = 200
MOST_GIVEN = 100


def _given(name: str, written: str) -> list[str]:
    """What a broken object gives a member as, wherever its name stands as a key; the first so many of them."""
    given = []
    for key in itertools.islice(key_of(name).finditer(written), MOST_GIVEN):
        rest = written[key.end() : key.end() + LONGEST_VALUE]
        end = next((each.start() for each in _VALUE_ENDS.finditer(rest) if rest[: each.start()].strip()), len(rest))
        given.append(rest[:end].strip())
    return given


def _as_written(value: Any, given: Mapping[str, Sequence[str]]) -> Any:
    """A repaired object in which a number that was more than a number ("6 to 7", "3, 7") is text again."""
    if isinstance(value, list):
        return [_as_written(member, given) for member in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _number_as_given(member, given[key]) if (key := name.strip().lower()) in given
        and isinstance(member, int | float)
        else _as_written(member, given)
        for name, member in value.items()
    }  # fmt: skip


def _number_as_given(value: float, given: Sequence[str]) -> Any:
    """A number that a repair found, where it was given as such; else the text that it is the beginning of.

    Where the name stands as a key more than once, with other numbers, it is neither.
    """
    numbers = [number[0] for each in given if (number := _NUMBER.search(each[:LONGEST_NUMBER]))]
    if not all(_same(number, value) for number in numbers):
        return f"? {value}"
    if any(_CLEAN.fullmatch(each) for each in given):
        return value
    return next((each for each in given if _NUMBER.match(each)), f"? {value}")


_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|true|false", re.IGNORECASE)
LONGEST_NUMBER = 20


def _same(written: str, value: float) -> bool:
    """Whether a number or truth value is the one that was read."""
    if written.lower() in ("true", "false"):
        return isinstance(value, bool) and value == (written.lower() == "true")
    return float(written) == abs(value)


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


@functools.cache
def key_of(name: str) -> re.Pattern[str]:
    """The name of a member where one may stand, as the first of an object or after a comma."""
    return re.compile(
        rf"""[{{,\n;]\s{{0,99}}\\{{0,4}}["'“`]?{re.escape(name)}\\{{0,4}}["'”`]?\s{{0,9}}:""", re.IGNORECASE
    )
