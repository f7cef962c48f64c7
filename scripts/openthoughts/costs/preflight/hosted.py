"""Hosted models: their keys, and the day on which they are shut down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from openthoughts.costs.preflight.checks import Check
from openthoughts.costs.shutdowns import shutdowns
from openthoughts.plan.register import asked
from openthoughts.plan.stages import Plan


def key_checks(plan: Plan, environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether the keys of the hosted models are in the environment."""
    variables: dict[str, list[str]] = {}
    for model in asked(plan.index.values()):
        variable = model.settings["entry"].get("api_key_variable")
        if variable:
            variables.setdefault(variable, []).append(model.settings["name"])
    for variable, models in sorted(variables.items()):
        subject = f"key of {', '.join(sorted(models))}"
        if environ.get(variable):
            yield Check(subject, f"{variable} is set")
        else:
            yield Check(subject, f"{variable} is not set", f"export {variable}=... in the shell that runs Snakemake")


def shutdown_checks(plan: Plan) -> Iterator[Check]:
    """The hosted models that are shut down, or will be soon."""
    for end in shutdowns(plan.index.values()):
        remedy = "name another model, or correct the date in its catalog entry"
        yield Check(f"end of {end.name}", end.what, remedy, is_warning=not end.is_over)
