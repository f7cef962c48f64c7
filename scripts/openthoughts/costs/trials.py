"""Whether hosted models take what a plan's jobs will send: one short request for each form that a model is asked in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openthoughts.asking.programs import program
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import digest
from openthoughts.costs.preflight import Check
from openthoughts.inference.endpoints import hosted
from openthoughts.inference.job import Asking
from openthoughts.inference.protocol import FatalError
from openthoughts.inference.trial import FEW_TOKENS, tried
from openthoughts.inference.trial import short as shortened
from openthoughts.models.fetch import use_api
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
    """A line for each form of request that the plan sends to a hosted model, after one such request, all at a time.

    Where a model's key is missing none is sent.
    """

    async def everything() -> list[Check]:
        return await asyncio.gather(*(_check(form) for form in forms(plan, store)))

    return asyncio.run(everything())


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


async def _check(form: Form) -> Check:
    name = form.asking.model.name
    try:
        endpoint = hosted(form.asking.model)
    except UserError as error:
        return Check(form.subject, f"not sent: {error}".rstrip("."), is_skipped=True)
    assert endpoint is not None
    try:
        trial = await tried(form.asking, endpoint)
    except FatalError as error:
        return Check(form.subject, error.found, error.remedy, asked=name)
    took = f"{trial.seconds:.1f} s" + (f", {trial.usd:.6f} USD" if trial.usd is not None else "")
    found = f"{trial.model} answered in {took}"
    if not trial.has_text:
        found = f"{trial.model} took the request, without a text in {FEW_TOKENS} tokens ({took})"
    return Check(form.subject, found + (" (live; jobs ask in batches)" if form.in_batches else ""), asked=name)
