"""Settings as models: default, type and meaning of each stand on its field, and whether it is part of an id.

Validation, defaults, ids, JSON schemas and the reference pages are all read from these fields.
"""

from __future__ import annotations

import datetime
import difflib
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Path = tuple[str | int, ...]

REPEATED = "repeated"
"""The error of a list that has an entry twice; its context has the ``place`` of the second."""


def execution_only(default: Any = PydanticUndefined, part_of: str = "", **more: Any) -> Any:
    """A field that says how something is run, or describes it: it is never part of the id of what it stands in.

    ``part_of`` names the stages whose ids it is part of all the same, as a benchmark's grader is of evaluations'.
    """
    extra: dict[str, Any] = {"identity": "never"} | ({"part_of": part_of} if part_of else {})
    return Field(default, json_schema_extra=extra, **more)


def unless_default(default: Any, **more: Any) -> Any:
    """A field that is part of an id where it differs from its default, so that ids from before it was added stay."""
    return Field(default, json_schema_extra={"identity": "unless default"}, **more)


class Options(BaseModel):
    """A block of settings: unknown keys are refused, types are not guessed (``"16"`` is not 16), nothing changes.

    A whole number may be written ``2.0e+4``; a list is taken where a tuple is declared. A class whose ids hold the
    keys as the user wrote them, without defaults, sets ``identity_as_written`` (and declares numbers as ``int | float``
    where both are allowed, so that 1 stays 1).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identity_as_written: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return dict(value) if isinstance(value, Mapping) else value
        respelled: dict[Any, Any] = {}
        for key, item in value.items():
            if isinstance(item, float) and item.is_integer() and int in _kinds(cls, key):
                respelled[key] = int(item)
            elif isinstance(item, list) and tuple in _kinds(cls, key):
                respelled[key] = tuple(item)
        return {**value, **respelled} if respelled else value

    @classmethod
    def execution_keys(cls) -> frozenset[str]:
        """The keys that are in no id (``execution_only``)."""
        fields = cls.model_fields.items()
        return frozenset(field.alias or name for name, field in fields if _identity_rule(field) == "never")

    def identity(self) -> dict[str, Any]:
        """The settings that are part of an id, as JSON values."""
        values: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            rule = _identity_rule(field)
            value = getattr(self, name)
            if rule == "never" or (rule == "unless default" and value == field.get_default(call_default_factory=True)):
                continue
            if self.identity_as_written and name not in self.model_fields_set:
                continue
            values[field.alias or name] = _plain(value)
        return values

    def written(self) -> dict[str, Any]:
        """The settings that were given, without defaults."""
        return self.model_dump(exclude_unset=True, by_alias=True)

    def changed(self, **values: Any) -> Self:
        """A validated copy with other values."""
        return type(self).model_validate({**dict(self), **values})


def _identity_rule(field: FieldInfo) -> Any:
    held = field.json_schema_extra
    return held.get("identity") if isinstance(held, dict) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Options):
        return value.identity()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


_KINDS: dict[type[BaseModel], dict[str, frozenset[type]]] = {}


def _kinds(model: type[BaseModel], key: object) -> frozenset[type]:
    """Of ``int`` and ``tuple``, those that a field takes where it takes no other kind of number or list."""
    if model not in _KINDS:
        _KINDS[model] = {
            field.alias or name: frozenset({int, tuple} & kinds) if not {float, list} & kinds else frozenset()
            for name, field in model.model_fields.items()
            for kinds in [set(_members(field.annotation))]
        }
    return _KINDS[model].get(str(key), frozenset())


def _members(annotation: Any) -> Iterator[Any]:
    """The types of a union, without their parameters."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif origin in {typing.Union, types.UnionType}:
        for member in typing.get_args(annotation):
            yield from _members(member)
    else:
        yield origin or annotation


def suggestion(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`` (did you mean X?)`` for a near miss, or nothing."""
    close = difflib.get_close_matches(str(word), sorted(known), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]}?)" if close else ""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` for a near miss, else what there is."""
    names = sorted(known)
    listed = f" (known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''})" if names else ""
    return suggestion(word, names, 0.5) or listed


Model = TypeVar("Model", bound=BaseModel)


def problems(model: type[BaseModel], value: Any, path: str = "") -> list[str]:
    """Everything that is wrong with ``value``, each as ``path: sentence``; empty where it is a valid ``model``."""
    return checked(model, value, path)[1]


def checked(model: type[Model], value: Any, path: str = "") -> tuple[Model | None, list[str]]:
    """``value`` as a ``model`` (null where something is wrong), and everything that is wrong with it."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, sorted({sentence for _, sentence in _sentences(error, model, value, path)})


def repaired(model: type[Model], value: Any) -> tuple[Model | None, set[str]]:
    """``value`` without what is wrong in it, so that the rest can be looked at further, and the keys left out.

    Where a needed key is missing or wrong, the block that needs it is left out.
    """
    left_out: set[str] = set()
    for _ in range(10):
        try:
            return model.model_validate(value), left_out
        except ValidationError as error:
            for place in {place for place, _ in _sentences(error, model, value, "")}:
                if not place:
                    return None, left_out
                left_out.add(str(place[-1]))
                value = _without(value, place)
    return None, left_out


def checked_further(
    model: type[Model], settings: Any, where: str, look: Callable[[Model], list[str]]
) -> tuple[Model | None, list[str]]:
    """Settings as a model, and every problem: those of their types, and those that ``look`` finds in the rest."""
    whole, problems = checked(model, settings, where)
    if whole is not None:
        return whole, look(whole)
    rest, left_out = repaired(model, settings)
    named = re.compile(f"[`'](?:{'|'.join(map(re.escape, sorted(left_out)))})[`']")
    return None, problems + [each for each in (look(rest) if rest else ()) if not named.search(each)]


def _without(value: Any, place: Path) -> Any:
    head, rest = place[0], place[1:]
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if key != head}
        return {**kept, head: _without(value[head], rest)} if rest and head in value else kept
    if isinstance(value, list | tuple) and isinstance(head, int) and head < len(value):
        inner = [_without(value[head], rest)] if rest else []
        return [*value[:head], *inner, *value[head + 1 :]]
    return value


NAMES = {"int": "integer", "float": "number", "bool": "boolean", "tuple": "list", "dict": "mapping", "model": "mapping"}
"""What the type of an error is called in YAML."""

BOUNDS = {
    "greater_than": ("gt", "is less than or equal to the minimum of"),
    "greater_than_equal": ("ge", "is less than the minimum of"),
    "less_than": ("lt", "is greater than or equal to the maximum of"),
    "less_than_equal": ("le", "is greater than the maximum of"),
    "string_pattern_mismatch": ("pattern", "does not match"),
}


def _sentences(error: ValidationError, model: type[BaseModel], value: Any, root: str) -> Iterator[tuple[Path, str]]:
    """The place of each mistake (what has to be left out to be rid of it) and its sentence."""
    wanted: dict[Path, list[str]] = {}
    found: list[tuple[Path, str]] = []
    for each in error.errors(include_url=False):
        place, held = _place(value, each["loc"])
        kind = each["type"]
        name = ".".join([*([root] if root else []), *map(str, place)]) or "(top level)"
        if kind == "invalid_key" or each["loc"][-1:] == ("[key]",):
            parent = name.rpartition(".")[0] or "(top level)"
            pattern = each.get("ctx", {}).get("pattern")
            rule = f"does not match {pattern!r}" if pattern else "is not text: put it in quotes"
            said = str(each["ctx"]["error"]) if kind == "value_error" else f"the key {place[-1]!r} {rule}"
            found.append((place, f"{parent}: {said}"))
        elif kind.endswith("_type"):
            wanted.setdefault(place, []).append(NAMES.get(kind.removesuffix("_type"), kind.removesuffix("_type")))
        elif kind == "extra_forbidden":
            parent = name.rpartition(".")[0] if len(place) > 1 or root else "(top level)"
            known = _fields(model, value, each["loc"][:-1])
            found.append((place, f"{parent}: unknown key '{place[-1]}'{did_you_mean(place[-1], known)}"))
        elif kind == "missing":
            found.append((place, f"{name}: the key '{each['loc'][-1]}' is missing"))
        else:
            wrong = (*place, each["ctx"]["place"]) if kind == REPEATED else place
            found.append((wrong, f"{name}: {_wrong(each, held)}"))
    deeper = {place for place, _ in found} | set(wanted)
    for place, kinds in wanted.items():
        if len(set(kinds)) < len(kinds) or not any(other[: len(place)] == place != other for other in deeper):
            found.append((place, _mistyped(place, root, value, kinds)))
    yield from found


def _mistyped(place: Path, root: str, value: Any, kinds: Sequence[str]) -> str:
    name = ".".join([*([root] if root else []), *map(str, place)]) or "(top level)"
    held = _place(value, place)[1]
    numeric = {"integer", "number"} & set(kinds) and isinstance(held, str)
    hint = " (YAML reads 1e-5 as text: write 1.0e-5)" if numeric and re.fullmatch(r"[\d.+-]+[eE][\d+-]+", held) else ""
    return f"{name}: {_as_yaml(held)} should be of type {' or '.join(dict.fromkeys(kinds))}{hint}"


def _as_yaml(value: Any) -> str:
    """A value as its file has it, texts in quotes."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return value.isoformat() if isinstance(value, datetime.date) else repr(value)


def _wrong(each: Mapping[str, Any], held: Any) -> str:
    """What is wrong with a value of the right type."""
    kind, context = each["type"], each.get("ctx", {})
    if kind in {"literal_error", "enum"}:
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"{_as_yaml(held)} is not one of the choices{did_you_mean(held, choices)}"
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        limit = context[key]
        return f"{held!r} {words} {limit!r}" if isinstance(limit, str) else f"{held!r} {words} {limit:g}"
    if kind == "too_short":
        return f"{held!r} needs at least {context['min_length']} entr{'y' if context['min_length'] == 1 else 'ies'}"
    if kind == "value_error":
        return str(context["error"])
    return str(each["msg"])


def _place(value: Any, location: Sequence[str | int]) -> tuple[Path, Any]:
    """The part of an error's location that is in ``value`` (pydantic names members of a union too), and what is there.

    A key that is missing ends at the block that misses it.
    """
    place: list[str | int] = []
    for step in location:
        listed = isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)
        if listed or (isinstance(value, Mapping) and step in value):
            value = value[step]
            place.append(step)
    return tuple(place), value


def _fields(model: Any, value: Any, location: Sequence[str | int]) -> list[str]:
    """The keys of the block at ``location``."""
    candidates: list[Any] = [model]
    place = _place(value, location)[0]
    for step in place:
        candidates = [inner for each in candidates for inner in _inside(each, step)]
    return [
        field.alias or name
        for each in candidates
        if isinstance(each, type) and issubclass(each, BaseModel)
        for name, field in each.model_fields.items()
    ]


def _inside(annotation: Any, step: str | int) -> Iterator[Any]:
    """What an annotation says of its key or entry ``step``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _inside(arguments[0], step)
    elif origin in {typing.Union, types.UnionType}:
        for member in arguments:
            yield from _inside(member, step)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if step == (field.alias or name):
                yield from _unwrapped(field.annotation)
    elif origin in {dict, list, tuple} and arguments:
        yield from _unwrapped(arguments[1] if origin is dict else arguments[0])


def _unwrapped(annotation: Any) -> Iterator[Any]:
    """The members of a union with their parameters."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _unwrapped(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        for member in typing.get_args(annotation):
            yield from _unwrapped(member)
    else:
        yield annotation
