"""Structured output: the JSON schema that answers must follow, and the object in an answer that should hold one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ResponseSchema:
    """A JSON schema that answers must follow (structured output)."""

    name: str
    schema: Mapping[str, Any]

    def response_format(self) -> dict[str, Any]:
        """The request's ``response_format``."""
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, "schema": dict(self.schema), "strict": True},
        }


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
