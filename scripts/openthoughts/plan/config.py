"""Validation of the configuration and the catalog: every problem at once, each with its path and a suggestion."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from openthoughts.base.cli import UserError
from openthoughts.base.options import did_you_mean

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"


class ConfigurationError(UserError):
    """All problems of a configuration, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = sorted(set(problems))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        super().__init__(f"the configuration has {count}:\n" + "\n".join(f"  - {line}" for line in self.problems))


class _Loader(yaml.CSafeLoader):
    """YAML in which a repeated key is a mistake, not a silent replacement."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    merge = "tag:yaml.org,2002:merge"  # `<<`, whose keys may be there already
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != merge]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is there twice", node.start_mark)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=deep): loader.construct_object(value, deep=True) for key, value in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping (an empty file is an empty one).

    Raises ``UserError`` that names the line of a syntax error or of a repeated key.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Loader=_Loader)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: check the path.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping of names to entries: write `name: ...` lines.")
    return content


PAPER = "paper"
"""The size of a configuration that is as it stands."""


def prepared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the files of its ``include`` under it and the changes of its ``size`` over it.

    ``include``, ``size`` and ``sizes`` are gone from it. Raises ``UserError`` for a file that is not there, files that
    include each other, and a size that nothing defines.
    """
    whole = _with_included(config, ())
    size, sizes = whole.pop("size", PAPER), whole.pop("sizes", {})
    if size == PAPER or not isinstance(sizes, Mapping):
        return whole
    if size not in sizes:
        raise UserError(f"there is no size '{size}'{did_you_mean(size, [PAPER, *sizes])}: fix `size:`.")
    changes = dict(sizes[size] or {})
    share = changes.pop("questions", 1)
    if isinstance(share, bool) or not isinstance(share, int | float) or share <= 0:
        raise UserError(f"sizes.{size}.questions is {share!r}: give a share above 0, such as 0.1.")
    sized = merged(whole, changes)
    return {key: _scaled(value, share) if key in SCALED else value for key, value in sized.items()}


SCALED = ("recipes", "experiments")
COUNTS = ("keep", "draw", "candidates")
FEWEST = 4
"""Questions that a size leaves at least."""


def _scaled(value: Any, share: float, name: str = "") -> Any:
    """A part of a configuration with every number of questions multiplied; ``name`` is the (dotted) key it is under."""
    if isinstance(value, Mapping):
        return {key: _scaled(item, share, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_scaled(item, share, name) for item in value]
    counted = name.rpartition(".")[2] in COUNTS and isinstance(value, int) and not isinstance(value, bool)
    return min(value, max(FEWEST, round(value * share))) if counted else value


def _with_included(config: Mapping[str, Any], opened: tuple[str, ...]) -> dict[str, Any]:
    paths = config.get("include", [])
    under: dict[str, Any] = {}
    config = {key: value for key, value in config.items() if key != "include"}
    for path in [paths] if isinstance(paths, str) else paths:
        if path in opened:
            raise UserError(f"{path} includes itself: take it out of its `include:`.")
        under = merged(under, _with_included(read_yaml(Path(path)), (*opened, path)))
    return merged(under, config)


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """The schema ``schemas/NAME.schema.yaml``."""
    return read_yaml(SCHEMAS / f"{name}.schema.yaml")


def schema_problems(value: Any, schema: Mapping[str, Any], root: str = "") -> list[str]:
    """Every violation of a schema, as ``path: what is wrong``."""
    from jsonschema import Draft202012Validator

    problems: list[str] = []
    for error in Draft202012Validator(schema).iter_errors(value):
        problems += _describe(error, root)
    return problems


def _describe(error: Any, root: str) -> Iterator[str]:
    path = ".".join([*([root] if root else []), *map(str, error.absolute_path)]) or "(top level)"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = set(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                yield f"{path}: unknown key '{key}'{did_you_mean(key, known)}"
    elif error.validator == "enum":
        choices = did_you_mean(error.instance, map(str, error.validator_value))
        yield f"{path}: {error.instance!r} is not one of the choices{choices}"
    elif error.validator == "type":
        wanted = error.validator_value if isinstance(error.validator_value, str) else " or ".join(error.validator_value)
        hint = ""
        if isinstance(error.instance, str) and ("number" in wanted or "integer" in wanted):
            hint = " (YAML reads 1e-5 as text: write 1.0e-5)" if "e" in error.instance.lower() else ""
        yield f"{path}: {error.instance!r} should be of type {wanted}{hint}"
    elif error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        for key in missing:
            yield f"{path}: the key '{key}' is missing"
    elif error.validator in {"oneOf", "anyOf"}:
        branches = [[p for e in group for p in _describe(e, root)] for group in _by_branch(error.context)]
        best = min(branches, key=len, default=[])
        yield from best or [f"{path}: {error.message}"]
    else:
        yield f"{path}: {error.message}"


def _by_branch(errors: Iterable[Any]) -> list[list[Any]]:
    """The errors of a oneOf, grouped by branch."""
    groups: dict[int, list[Any]] = {}
    for error in errors:
        groups.setdefault(error.schema_path[0], []).append(error)
    return list(groups.values())


def with_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A copy of ``value`` with the schema's defaults filled in and numbers in the schema's type (1 is 1.0)."""
    root = root if root is not None else schema
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return with_defaults(value, target, root)
    if isinstance(value, dict):
        filled = dict(value)
        properties: Mapping[str, Any] = schema.get("properties", {})
        for key, subschema in properties.items():
            if key not in filled and "default" in subschema:
                filled[key] = copy.deepcopy(subschema["default"])
        others = schema.get("additionalProperties")
        for key, item in filled.items():
            subschema = properties.get(key, others if isinstance(others, dict) else {})
            filled[key] = with_defaults(item, subschema, root)
        return filled
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [with_defaults(item, schema["items"], root) for item in value]
    return _typed(value, schema.get("type"))


def _typed(value: Any, kind: Any) -> Any:
    """A number in the type that the schema names, so that 1 and 1.0 make one id."""
    kinds = [kind] if isinstance(kind, str) else kind or []
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "number" in kinds:
        return float(value)
    return int(value) if "integer" in kinds else value


def read_config(files: Iterable[Path], changes: str = "{}") -> dict[str, Any]:
    """The configuration of files laid over each other, the last one on top, and of ``changes`` (JSON) over all.

    It is prepared as by ``prepared``.
    """
    config: dict[str, Any] = {}
    for path in files:
        config = merged(config, read_yaml(path) or {})
    return prepared(merged(config, json.loads(changes)))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on it, mappings merged key by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def with_setting(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``tree`` in which the dotted ``path`` (``domains.code.top``) has ``value``."""
    head, _, rest = path.partition(".")
    result = dict(tree)
    if rest:
        child = result.get(head, {})
        result[head] = with_setting(child if isinstance(child, Mapping) else {}, rest, value)
    else:
        result[head] = value
    return result
