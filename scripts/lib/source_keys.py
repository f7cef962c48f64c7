"""Which keys a catalog entry may have, per connector: plain data, so that the plan can check a catalog cheaply.

An entry is a mapping of ``connector`` and that connector's keys. Keys of ``DESCRIPTIVE`` say something about the
questions without changing them, and are never part of a result's id.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lib.cli import UserError

DESCRIPTIVE = frozenset({"licence", "homepage", "rank", "rows", "verified", "note", "published"})
"""Keys that describe an entry; ``rows`` is the number of rows expected."""

ROLE = frozenset({"domain", "grader", "prompt", "samples", "group"})
"""Keys that say how the workflow uses an entry; connectors do not read them."""

COMMON = frozenset({"connector", "limit", "repeat_to", "seed"})
"""Keys every connector takes: the first ``limit`` rows; rows repeated up to ``repeat_to``, chosen by ``seed``."""


COLUMNS = frozenset({"format", "column", "text", "chat", "where", "reference", "choices", "key", "metadata"})
"""Keys that say where in a table the question is; see ``lib.sources.columns``."""


@dataclass(frozen=True)
class Keys:
    """The keys of one connector's entries."""

    required: frozenset[str]
    optional: frozenset[str] = frozenset()

    def all(self) -> frozenset[str]:
        """Every key an entry of this connector may have."""
        return self.required | self.optional | COMMON | ROLE | DESCRIPTIVE


CONNECTORS: Mapping[str, Keys] = {
    "procedural": Keys(frozenset({"families"}), frozenset({"size"})),
    "champ": Keys(frozenset({"part"}), frozenset({"numeric"})),
    "human_eval": Keys(frozenset()),
    "local": Keys(frozenset({"path"}), COLUMNS),
    "hub": Keys(frozenset(), COLUMNS | {"dataset", "config", "split", "files", "parts", "lookup", "ref"}),
    "stackexchange": Keys(frozenset({"site"}), frozenset({"url"})),
    "unresolved": Keys(frozenset({"note"})),
    "planted": Keys(
        frozenset({"originals"}),
        frozenset({"benchmark", "exact", "near", "repeated", "verbatim", "edited", "embedded"}),
    ),
}
"""Connector -> keys of its entries. The module of a connector is ``lib.sources.NAME``."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` for the known word closest to ``word``, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def entry_problems(entry: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with an entry's keys, one sentence each; empty when nothing is."""
    connector = entry.get("connector")
    if connector is None:
        return ["the entry names no connector: add `connector:` with one of " + ", ".join(sorted(CONNECTORS)) + "."]
    if connector not in CONNECTORS:
        return [f"there is no connector {connector!r}{suggestion(str(connector), CONNECTORS)}."]
    keys = CONNECTORS[connector]
    problems = [f"the connector {connector} needs the key {key!r}." for key in sorted(keys.required - entry.keys())]
    for key in sorted(entry.keys() - keys.all()):
        problems.append(f"the connector {connector} has no key {key!r}{suggestion(key, keys.all())}.")
    return problems


def check_entry(name: str, entry: Mapping[str, Any]) -> None:
    """Raise ``UserError`` with the first problem of the entry called ``name``."""
    problems = entry_problems(entry)
    if problems:
        raise UserError(f"{name}: {problems[0]}")
