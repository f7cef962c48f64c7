"""The entries of a catalog: what is wrong with one, what of it is fetched, and which steps write its questions.

An entry is a mapping of ``connector`` and the keys of that connector (``openthoughts.sources.connectors``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.options import checked, did_you_mean
from openthoughts.sources.connectors import CONNECTORS, Connector
from openthoughts.sources.counts import Counted


def written_steps(entry: Mapping[str, Any]) -> list[list[str]]:
    """The steps of an entry of the connector ``written``, each a list of what is asked side by side; else none."""
    if entry.get("connector") != "written":
        return []
    return [
        [step] if isinstance(step, str) else list(step) for step in entry.get("steps", ["write", "refine", "check"])
    ]


def written_prompt(entry: Mapping[str, Any], step: str) -> str:
    """The catalog's name of the prompt of a step."""
    return str(entry.get("prompts", {}).get(step, f"{step}_question"))


def fetched_entry(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is fetched of a catalog entry: its documents where a model writes its questions, else the entry itself."""
    if entry.get("connector") != "written":
        return entry
    return {"domain": entry["domain"], **entry["documents"]}


def needs_pin(entry: Mapping[str, Any]) -> bool:
    """Whether what is fetched of a catalog entry (a source, a benchmark or a model) must stand in the lock first.

    That is what comes from the internet; a local file is pinned by its content.
    """
    entry = fetched_entry(entry)
    connector = CONNECTORS.get(entry.get("connector", ""))
    return connector.is_locked(entry) if connector else bool(entry.get("kind") == "hub")


def counted_rows(entry: Mapping[str, Any], noted: int | None = None) -> Counted | None:
    """Rows of questions, or of documents, that are fetched of a catalog entry; null where only the fetch can tell.

    They are counted where that takes a moment; elsewhere ``noted`` is how many the lock says that the dataset has.
    """
    entry = fetched_entry(entry)
    connector = CONNECTORS.get(entry.get("connector", ""))
    if connector is None or "passage" in entry:
        return None
    counted = connector.counted(entry) or (None if noted is None else Counted(noted))
    if counted is None or not counted.rows:
        return counted
    limit, repeated_to = entry.get("limit"), entry.get("repeat_to") or 0
    rows = counted.rows if limit is None else min(counted.rows, limit)
    return Counted(int(max(rows, repeated_to)), counted.is_exact)


def entry_problems(entry: Mapping[str, Any], path: str = "") -> list[str]:
    """Everything that is wrong with an entry, one sentence each after its place; empty when nothing is."""
    return _checked(entry, path)[1]


def _checked(entry: Mapping[str, Any], path: str) -> tuple[Connector | None, list[str]]:
    place = f"{path}: " if path else ""
    name = entry.get("connector")
    if name is None:
        listed = ", ".join(CONNECTORS)
        return None, [f"{place}the entry names no connector: add `connector:` with one of {listed}"]
    if name not in CONNECTORS:
        return None, [f"{place}there is no connector {name!r}{did_you_mean(name, CONNECTORS)}"]
    connector, problems = checked(CONNECTORS[name], entry, path)
    for key, value in entry.items():
        if isinstance(value, Mapping) and "connector" in value:
            problems += entry_problems(value, f"{path}.{key}" if path else key)
    return connector, problems


def connector_of(name: str, entry: Mapping[str, Any]) -> Connector:
    """The connector of the entry called ``name``, with its keys. Raises ``UserError`` with its first problem."""
    connector, problems = _checked(entry, name)
    if connector is None or problems:
        raise UserError(f"{problems[0]}.")
    return connector
