"""What is wrong with the prompts that a configuration names, as far as its catalog can tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.options import did_you_mean
from openthoughts.inference.prompts import Prompt
from openthoughts.plan.catalog import Catalog
from openthoughts.sources.connectors import CONNECTORS


def prompt_problems(
    path: str,
    name: str,
    catalog: Catalog,
    asked: Mapping[str, Mapping[str, Any]],
    given: Collection[str] = (),
    tells: bool = False,
) -> list[str]:
    """Why a prompt cannot be used to ask the questions of some entries.

    ``given`` are names that the stage brings itself; with them, or where it ``tells``, a prompt may tell the answer.
    """
    problems = unknown(path, "prompt", name, catalog.prompts)
    if problems:
        return problems
    try:
        may_tell = tells or bool(given)
        wanted = Prompt.parse(catalog.prompts[name].text, name, may_tell).placeholders()
    except UserError as error:
        return [f"{path}: {str(error).rstrip('.')}"]
    problems = []
    references = set() if may_tell else {entry.get("reference") for entry in asked.values()}
    for source, entry in asked.items():
        if entry.get("reference") in wanted & references:
            problem = (
                f"the prompt {name} would tell the model the answer: {{{{ {entry['reference']} }}}} is the reference"
            )
            problems.append(f"{path}: {problem} of {source}")
        connector = CONNECTORS.get(str(entry.get("connector")))
        known = connector.metadata_names(entry) if connector else None
        if known is not None:
            problems += [
                f"{path}: the prompt {name} wants {{{{ {one} }}}}, which questions of {source} do not have"
                for one in sorted(wanted - known - references - {"question", *given})
            ]
    return problems


def unknown(path: str, what: str, name: str, known: Iterable[str]) -> list[str]:
    """A problem where the catalog does not know ``name``."""
    names = set(known)
    return [] if name in names else [f"{path}: the catalog has no {what} '{name}'{did_you_mean(name, names)}"]
