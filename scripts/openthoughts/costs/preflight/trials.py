"""Whether hosted models take what a plan's jobs will send: short requests in each form that a model is asked in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from openthoughts.asking.programs import program
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import digest
from openthoughts.costs.preflight.checks import Check
from openthoughts.inference.endpoints import hosted
from openthoughts.inference.job import Asking
from openthoughts.inference.protocol import FatalError
from openthoughts.inference.trial import FEW_TOKENS, Outcome, Trial, applied, tried
from openthoughts.inference.trial import short as shortened
from openthoughts.models.fetch import use_api
from openthoughts.models.request_form import RequestForm
from openthoughts.plan.shards import Shard, asked_shards
from openthoughts.plan.stages import Plan


@dataclass(frozen=True)
class Form:
    """One form of request, and the kinds of stages that send it."""

    asking: Asking
    kinds: Sequence[str]
    in_batches: bool
    """Whether jobs send it by the Batch API."""

    @property
    def subject(self) -> str:
        """What the request is called in the table."""
        schema = [f"schema {self.asking.schema.name}"] if self.asking.schema else []
        return f"request to {self.asking.model.name} ({', '.join([*self.kinds, *schema])})"


def trial_checks(plan: Plan, store: Path) -> list[Check]:
    """A line for each form of request that the plan sends to a hosted model, after short requests, all at a time.

    Where a model's key is missing none is sent. The remedy of what a model refuses is the ``request`` of its entry
    that answers the refusals of all its forms.
    """

    async def everything() -> list[Check | Outcome]:
        return await asyncio.gather(*(_outcome(form) for form in asked))

    asked = list(forms(plan, store))
    outcomes = asyncio.run(everything())
    wanted = {form.asking.model.name: form.asking.model.request_form() for form in asked}
    for form, outcome in zip(asked, outcomes, strict=True):
        for change in outcome.changes if isinstance(outcome, Outcome) else ():
            name = form.asking.model.name
            wanted[name] = applied(wanted[name], change)
    return [
        outcome if isinstance(outcome, Check) else _check(form, outcome, wanted[form.asking.model.name])
        for form, outcome in zip(asked, outcomes, strict=True)
    ]


def forms(plan: Plan, store: Path) -> Iterator[Form]:
    """The forms of request of a plan, by what is in their bodies beside messages, seed and the limit on tokens."""
    found: dict[str, tuple[Asking, dict[str, None], bool]] = {}
    first: dict[str, Shard] = {}
    for shard in asked_shards(plan):
        first.setdefault(shard.stage.name, shard)
    for shard in first.values():
        model = shard.stage.input("model")
        entry = model.settings.get("entry", {})
        if entry.get("kind") != "api":
            continue
        price = model.execution.get("price")
        arguments = [*shard.arguments, "--store", str(store), *(["--price", json.dumps(price)] if price else [])]
        described = use_api(model.settings["name"], entry, None, Path("model.json"))
        asking = program(shard.program).asking(arguments, described)
        key = digest([model.settings["name"], asking.embeds, shortened(asking).settings()])
        in_batches = model.execution.get("serving", {}).get("mode") == "batch"
        found.setdefault(key, (asking, {}, in_batches))[1][shard.stage.kind] = None
    for asking, kinds, in_batches in found.values():
        yield Form(asking, tuple(kinds), in_batches)


async def _outcome(form: Form) -> Check | Outcome:
    """What came of a form's requests; a line where there is no key to send them with."""
    try:
        endpoint = hosted(form.asking.model)
    except UserError as error:
        return Check(form.subject, f"not sent: {error}".rstrip("."), is_skipped=True)
    assert endpoint is not None
    return await tried(form.asking, endpoint)


def _check(form: Form, outcome: Outcome, wanted: RequestForm) -> Check:
    """The line about a form; ``wanted`` is the ``request`` that its model wants."""
    end = outcome.end
    found, remedies = list(outcome.refusals), []
    if outcome.changes:
        block = yaml.safe_dump(
            wanted.model_dump(mode="json", exclude_defaults=True),
            default_flow_style=True,
            sort_keys=False,
            width=10_000,
        )
        remedies.append(f"write `request: {block.strip()}` in its entry of the catalog")
    if isinstance(end, FatalError):
        found.append(end.found)
        remedies.append(end.remedy)
    elif end is None:
        remedies.append("run again, as it may refuse more")
    elif not outcome.changes:
        found.append(_answered(form, end))
    return Check(form.subject, "; ".join(found), ", then ".join(remedies), asked=form.asking.model.name)


def _answered(form: Form, trial: Trial) -> str:
    """What is said of a request that was taken."""
    took = f"{trial.seconds:.1f} s" + (f", {trial.usd:.6f} USD" if trial.usd is not None else "")
    found = f"{trial.model} answered in {took}"
    if not trial.has_text:
        found = f"{trial.model} took the request, without a text in {FEW_TOKENS} tokens ({took})"
    if trial.ignores_schema:
        found += "; it ignores the schema: its answers can be read only where the prompt asks for JSON"
    return found + (" (live; jobs ask in batches)" if form.in_batches else "")
