"""Configuration files: read, laid over each other, with the files they include and the size they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from openthoughts.base.cli import UserError
from openthoughts.base.options import did_you_mean
from openthoughts.base.places import located

Settings = Mapping[str, Any]
"""Settings as they are written."""


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
        if isinstance(key, list | dict):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key} is no word", node.start_mark)
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is there twice", node.start_mark)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=deep): loader.construct_object(value, deep=True) for key, value in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
# A day, such as 2026-07-24, stays the text that it is: plans are JSON, which has no dates.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping (an empty file is an empty one).

    Raises ``UserError`` that names the line of a syntax error or of a repeated key.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Loader=_Loader)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping of names to entries: write `name: ...` lines.")
    return content


WORDS = {"true": True, "false": False, "null": None}

NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")

PAPER = "paper"
"""The size of a configuration that is as it stands."""


def typed(value: Any) -> Any:
    """Values of a command line, where Snakemake hands on nested ones as text: numbers, true, false and null as such.

    Other texts that YAML reads as a number or a truth (``12:30``, ``0123``, ``yes``) stay texts.
    """
    if isinstance(value, Mapping):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    if not isinstance(value, str):
        return value
    if value in WORDS:
        return WORDS[value]
    return json.loads(value.removeprefix("+")) if NUMBER.fullmatch(value) else value


def prepared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the files of its ``include`` under it, and its ``size`` and what it ``set``s over it.

    ``include``, ``size``, ``sizes`` and ``set`` are gone from it. Raises ``UserError`` for a file that is not there,
    files that include each other, and a size that nothing defines.
    """
    whole = _with_included(config, ())
    changes = whole.pop("set", None) or {}
    if not isinstance(changes, Mapping):
        raise UserError(f"set: is {changes!r}: give a mapping of dotted paths to values.")
    for name in ("size", "sizes", "include", "set"):
        if name in changes:
            raise UserError(f"set: `{name}` is read before it: give it as a key of its own, --config {name}=....")
    sized = _sized(whole)
    for path, value in changes.items():
        sized = with_setting(sized, str(path), value)
    return sized


def _sized(whole: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the changes of its ``size``."""
    size, sizes = whole.pop("size", PAPER), whole.pop("sizes", {})
    if size == PAPER or not isinstance(sizes, Mapping):
        return whole
    if size not in sizes:
        raise UserError(f"there is no size '{size}'{did_you_mean(size, [PAPER, *sizes])}: fix `size:`.")
    changes = sizes[size] or {}
    if not isinstance(changes, Mapping):
        raise UserError(f"sizes.{size} is {changes!r}: give a mapping of what the size changes.")
    changes = dict(changes)
    questions = _size_share(changes, size, "questions")
    sources = _size_share(changes, size, "sources")
    if sources > 1:
        raise UserError(f"sizes.{size}.sources is {sources!r}: give a share of at most 1, such as 0.1.")
    sized = merged(whole, changes)
    scaled = {key: _scaled(value, questions) if key in SCALED else value for key, value in sized.items()}
    return scaled if sources == 1 else _with_thinned_sources(scaled, sources)


def _size_share(changes: dict[str, Any], size: str, key: str) -> float:
    """A share that a size names, which is taken out of its ``changes``; 1 where it names none."""
    share = changes.pop(key, 1)
    if isinstance(share, bool) or not isinstance(share, int | float) or share <= 0:
        raise UserError(f"sizes.{size}.{key} is {share!r}: give a share above 0, such as 0.1.")
    return share


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


def _with_thinned_sources(whole: dict[str, Any], share: float) -> dict[str, Any]:
    """A configuration in which every recipe, and what experiments and domains set, takes this share of its sources."""
    thinned = {key: _thinned(value, share) if key in SCALED else value for key, value in whole.items()}
    recipes = thinned.get("recipes")
    if isinstance(recipes, Mapping):
        thinned["recipes"] = {
            name: merged({"thin": {"share": share}}, recipe) if isinstance(recipe, Mapping) else recipe
            for name, recipe in recipes.items()
        }
    return thinned


def _thinned(value: Any, share: float, path: str = "") -> Any:
    """A part of a configuration with every ``thin: {share: ...}`` multiplied; ``path``: the (dotted) keys above it."""
    if isinstance(value, Mapping):
        return {key: _thinned(item, share, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_thinned(item, share, path) for item in value]
    named = path.endswith(".thin.share") and isinstance(value, int | float) and not isinstance(value, bool)
    return value * share if named else value


def _with_included(config: Mapping[str, Any], opened: tuple[str, ...]) -> dict[str, Any]:
    paths = config.get("include", [])
    under: dict[str, Any] = {}
    config = {key: value for key, value in config.items() if key != "include"}
    for path in [paths] if isinstance(paths, str) else paths:
        if path in opened:
            raise UserError(f"{path} includes itself: take it out of its `include:`.")
        under = merged(under, _with_included(read_yaml(located(path)), (*opened, path)))
    return merged(under, config)


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
