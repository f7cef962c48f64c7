"""Which keys a catalog entry may have, per connector: plain data, so that the plan can check a catalog cheaply.

An entry is a mapping of ``connector`` and that connector's keys. Keys of ``DESCRIPTIVE`` say something about the
questions without changing them, and are never part of a result's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.options import suggestion

DESCRIPTIVE = frozenset({"licence", "homepage", "rank", "rows", "verified", "note", "published"})
"""Keys that describe an entry; ``rows`` is the number of rows expected."""

ROLE = frozenset({"domain", "grader", "prompt", "samples", "group", "averaged", "part_of", "judge"})
"""Keys that say how the workflow uses an entry; connectors do not read them."""

COMMON = frozenset({"connector", "limit", "repeat_to", "seed", "passage"})
"""Keys every connector takes: the first ``limit`` rows; rows repeated up to ``repeat_to``, chosen by ``seed``; texts
cut into passages of at most ``passage`` characters."""


COLUMNS = frozenset({"format", "column", "text", "chat", "where", "reference", "choices", "key", "metadata", "tests"})
"""Keys that say where in a table the question is; see ``openthoughts.sources.columns``."""


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
    "pdf": Keys(frozenset({"path"})),
    "written": Keys(
        frozenset({"documents", "model"}), frozenset({"steps", "prompts", "sampling", "questions_per_shard"})
    ),
    "unresolved": Keys(frozenset({"note"})),
    "planted": Keys(
        frozenset({"originals"}),
        frozenset({"benchmark", "exact", "near", "repeated", "verbatim", "edited", "embedded"}),
    ),
}
"""Connector -> keys of its entries. The module of a connector is ``openthoughts.sources.NAME``."""


WRITTEN_STEPS = ("write", "refine", "check", "rephrase", "self_verify", "backward")
"""What a model can be asked on the way from documents to questions; see ``openthoughts.questions.writing``."""


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

    That is what comes from the hub, and a dump that has an address; a local file is pinned by its content.
    """
    entry = fetched_entry(entry)
    kind = entry.get("connector", entry.get("kind"))
    return kind == "hub" or (kind == "stackexchange" and "://" in str(entry.get("url", "https://")))


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
    return problems + (_written_problems(entry) if connector == "written" and not problems else [])


def _written_problems(entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with the documents and the steps of an entry of the connector ``written``."""
    documents, steps = entry["documents"], written_steps(entry)
    problems = [f"documents: {problem}" for problem in entry_problems(documents)]
    problems += [f"{key!r} belongs in `documents`." for key in ("limit", "passage", "repeat_to") if key in entry]
    if documents.get("connector") == "written":
        problems.append("documents: they cannot be written by a model themselves.")
    for step in {step for steps_beside in steps for step in steps_beside} | set(entry.get("prompts", {})):
        if step not in WRITTEN_STEPS:
            problems.append(f"there is no step {step!r}{suggestion(step, WRITTEN_STEPS)}.")
    if not steps or len(steps[-1]) != 1:
        problems.append("the last of `steps` must be one step, such as check.")
    return sorted(problems)


def check_entry(name: str, entry: Mapping[str, Any]) -> None:
    """Raise ``UserError`` with the first problem of the entry called ``name``."""
    problems = entry_problems(entry)
    if problems:
        raise UserError(f"{name}: {problems[0]}")
