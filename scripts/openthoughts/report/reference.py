"""The JSON schemas of the configuration and the catalog, written from their models, and their reference pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

Schema = Mapping[str, Any]

WORDS = {"object": "mapping", "array": "list"}
"""What a type of JSON is called in YAML."""

HEAD = "<!-- Written by scripts/write_reference.py from {source}: change it there. -->\n"


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, for editors and for the page: its blocks are named as their keys are."""
    whole = dict(_tidied(model.model_json_schema(by_alias=True)))
    blocks = whole.pop("$defs", {})
    return {**whole, "$defs": {name: blocks[name] for name in _in_order(whole, blocks)}}


def _in_order(value: Any, blocks: Mapping[str, Any]) -> dict[str, None]:
    """The names of all blocks in the order in which a reader of ``value`` meets them."""
    met: dict[str, None] = {}
    waiting = _references(value)
    while waiting:
        name = waiting.pop(0)
        if name not in met:
            met[name] = None
            waiting = [*_references(blocks[name]), *waiting]
    return met


def _references(value: Any) -> list[str]:
    """The names of the blocks that a part of a schema refers to."""
    if isinstance(value, list):
        return [name for item in value for name in _references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"].rpartition("/")[2]] if "$ref" in value else []
    return own + [name for key, item in value.items() if key != "$ref" for name in _references(item)]


def _tidied(value: Any, within: str = "") -> Any:
    """A part of a schema without titles, and with names and defaults as a user writes them."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for key, item in value.items():
        if within in {"properties", "$defs"}:
            kept[_snake(key) if within == "$defs" else key] = _tidied(item)
        elif key == "$ref":
            head, _, name = item.rpartition("/")
            kept[key] = f"{head}/{_snake(name)}"
        elif key == "description":
            kept[key] = _plain(item)
        elif key == "default":
            kept[key] = {} if isinstance(item, dict) and "additionalProperties" not in value else item
        elif key == "anyOf":
            kept |= _nullable(_tidied(item))
        elif key != "title":
            kept[key] = _tidied(item, key)
    return kept


def _nullable(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """A choice between a plain type and null, as one type."""
    plain = [branch for branch in branches if branch != {"type": "null"}]
    if len(plain) == 1 and len(branches) == 2 and isinstance(plain[0].get("type"), str) and "enum" not in plain[0]:
        return {**plain[0], "type": [plain[0]["type"], "null"]}
    return {"anyOf": branches} if len(branches) > 1 else branches[0]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def page(title: str, introduction: str, schema: Schema, source: str) -> str:
    """A page with a table of the keys of the schema and of each of its definitions."""
    parts = [HEAD.format(source=source) + f"\n# {title}", introduction]
    parts += _block(None, schema)
    for name, definition in schema.get("$defs", {}).items():
        if "properties" in definition:
            parts += _block(name, definition)
        else:
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
    names = [WORDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if "list" in names and "items" in schema:
        return " or ".join(f"list of {_type(schema['items'])}" if name == "list" else name for name in names)
    more = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
    if names == ["mapping"] and isinstance(more, Mapping) and more:
        return f"name to {_type(more)}"
    bounds = {"minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "above {}"}
    told = [text.format(schema[key]) for key, text in bounds.items() if key in schema]
    return " or ".join(names) + (f" ({', '.join(told)})" if told else "")


def _default(key: str, schema: Schema, required: set[str]) -> str:
    if key in required:
        return "needed"
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _meaning(schema: Schema) -> str:
    identity = {"never": " Never part of an id.", "unless default": " Part of an id unless it has the default."}
    part = f" Part of the ids of {schema['part_of']} only." if "part_of" in schema else ""
    told = schema.get("description", "") + (part or identity.get(schema.get("identity", ""), ""))
    return _plain(told).replace("|", "\\|")


def _plain(text: str) -> str:
    return " ".join(text.split())
