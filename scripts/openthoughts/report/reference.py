"""The reference pages of the configuration and the catalog, written from their schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

HEAD = "<!-- Written by scripts/write_reference.py from {source}: change it there. -->\n"


def page(title: str, introduction: str, schema: Schema, source: str) -> str:
    """A page with a table of the keys of the schema and of each of its definitions."""
    parts = [HEAD.format(source=source) + f"\n# {title}", introduction]
    parts += _block(None, schema)
    for name, definition in schema.get("$defs", {}).items():
        if "properties" in definition:
            parts += _block(name, definition)
        elif name != "name":
            parts += [f"## {name}", f"{_plain(definition.get('description', ''))} Type: {_type(definition)}."]
    return "\n\n".join(parts) + "\n"


def _block(name: str | None, schema: Schema) -> Iterator[str]:
    """Heading, description and table of an object's keys; of objects that are written out within it, too."""
    if name:
        yield f"## {name}"
        if "description" in schema:
            yield _plain(schema["description"])
    required = set(schema.get("required", ()))
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    within = []
    for key, value in schema["properties"].items():
        rows.append(f"| `{key}` | {_type(value)} | {_default(key, value, required)} | {_meaning(value)} |")
        more = value.get("additionalProperties")
        inner = more if isinstance(more, Mapping) and "properties" in more else value
        if "properties" in inner:
            within.append((f"{name}: {key}" if name else key, inner))
    yield "\n".join(rows)
    for inner, value in within:
        yield from _block(inner, value)


def _type(schema: Schema) -> str:
    """The type of a value in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "oneOf" in schema or "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema.get("oneOf", schema.get("anyOf", ()))))
    kinds = schema.get("type", "any")
    names = [kinds] if isinstance(kinds, str) else kinds
    if "array" in names and "items" in schema:
        return " or ".join("list of " + _type(schema["items"]) if one == "array" else one for one in names)
    more = schema.get("additionalProperties")
    if names == ["object"] and isinstance(more, Mapping) and more:
        return f"name to {_type(more)}"
    bounds = {"minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "above {}"}
    told = [text.format(schema[key]) for key, text in bounds.items() if key in schema]
    return " or ".join(names) + (f" ({', '.join(told)})" if told else "")


def _default(key: str, schema: Schema, required: set[str]) -> str:
    if key in required:
        return "needed"
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _meaning(schema: Schema) -> str:
    return _plain(schema.get("description", "")).replace("|", "\\|")


def _plain(text: str) -> str:
    return " ".join(text.split())
