"""Types of settings that several blocks have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from openthoughts.base.options import REPEATED, did_you_mean

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""A name that can be part of a file's."""

Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]+$")]
"""A folder without blanks."""


def _is_day(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        sentence = f"{value!r} is no day such as 2026-07-24"
        raise PydanticCustomError("no_day", "{sentence}", {"sentence": sentence}) from None
    return value


Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_is_day)]
"""A day, such as 2026-07-24."""


class Unique:
    """Marks a list whose entries must differ."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_unique, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), "uniqueItems": True}


class OneOf:
    """Marks a text that must be one of the names that a register has (they are asked for when it is checked)."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self.names = names
        self._seen: set[str] = set()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": list(self.names())}

    def _known(self, value: str) -> str:
        if value not in self._seen:  # a register looks into a folder
            names = list(self.names())
            if value not in names:
                sentence = f"{value!r} is not one of the choices{did_you_mean(value, names)}"
                raise PydanticCustomError("unknown_name", "{sentence}", {"sentence": sentence})
            self._seen.add(value)
        return value


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for place, value in enumerate(values):
        if value in values[:place]:
            told = {"sentence": f"{value!r} is twice: leave one out", "place": place}
            raise PydanticCustomError(REPEATED, "{sentence}", told)
    return values


Names = Annotated[tuple[str, ...], Unique()]
"""Names of which none is there twice."""
