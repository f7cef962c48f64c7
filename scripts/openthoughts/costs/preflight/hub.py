"""What comes from the hub: pinned, here already, and readable for this user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openthoughts.base.cli import UserError
from openthoughts.costs.preflight.checks import Check, skipped
from openthoughts.plan.register import FETCHED
from openthoughts.plan.stages import Plan
from openthoughts.sources.entries import fetched_entry, needs_pin


def fetched_checks(plan: Plan) -> Iterator[Check]:
    """Whether what comes from the hub is pinned, and how much of what the plan uses is here already."""
    for kind, words in FETCHED.items():
        stages = [stage for stage in plan.index.values() if stage.kind == kind]
        if not stages:
            continue
        here = sum(Path(plan.path(stage)).exists() for stage in stages)
        loose = sorted(
            stage.settings["name"]
            for stage in stages
            if needs_pin(stage.settings["entry"]) and "pin" not in stage.settings
        )
        found = f"{here} of {len(stages)} are here, the others are fetched when they are needed"
        if loose:
            yield Check(words, f"not pinned: {', '.join(loose)}", "run snakemake lock")
        else:
            yield Check(words, found if here < len(stages) else f"all {here} are here")


def repositories(plan: Plan) -> dict[tuple[str, str], str]:
    """Repositories of the hub that are still to be fetched, with their kind (dataset or model) -> who needs them."""
    from openthoughts.sources.hub import entry_datasets

    found: dict[tuple[str, str], str] = {}
    for stage in plan.index.values():
        if stage.kind not in FETCHED or Path(plan.path(stage)).exists():
            continue
        entry = fetched_entry(stage.settings["entry"])
        if entry.get("kind") == "hub":
            found.setdefault((entry["repository"], "model"), stage.settings["name"])
        elif entry.get("connector") == "hub":
            for name in entry_datasets(entry):
                found.setdefault((name, "dataset"), stage.settings["name"])
    return found


def access_checks(plan: Plan, offline: bool) -> Iterator[Check]:
    """Whether the hub lets this user read what is still to be fetched: gated datasets and models want terms accepted.

    Nothing is downloaded. Those of which the hub does not say are skipped one by one, all where it cannot be reached.
    """
    from openthoughts.sources.hub import NotReadableError, UnreachableError, check_access

    subject, wanted = "access to the hub", repositories(plan)
    if not wanted:
        return
    if offline:
        yield skipped(subject, f"offline: {len(wanted)} datasets and models are still to be fetched")
        return
    answered, readable = 0, 0
    for (repository, kind), name in wanted.items():
        try:
            check_access(repository, kind)
            answered, readable = answered + 1, readable + 1
        except NotReadableError as error:
            answered += 1
            found, _, remedy = str(error).rstrip(".").rpartition(": ")
            yield Check(f"access to {repository}", f"{found} ({name})", remedy)
        except UserError as error:
            why = str(error).partition(": ")[0]
            if isinstance(error, UnreachableError) and not answered:
                yield skipped(subject, why, "run where the internet is")
                return
            answered += not isinstance(error, UnreachableError)
            yield skipped(f"access to {repository} ({name})", why, "run again later")
    if readable:
        share = f"all {readable}" if readable == len(wanted) else f"{readable} of {len(wanted)}"
        yield Check(subject, f"{share} datasets and models that are still to be fetched can be read")
