"""What every part of the planner builds stages with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from openthoughts.base.hashing import digest
from openthoughts.base.places import located
from openthoughts.models.architecture import Architecture
from openthoughts.models.engine_arguments import changing
from openthoughts.models.model import API
from openthoughts.plan.catalog import Catalog, ContentOf, content_of, local_pins
from openthoughts.plan.config import Settings
from openthoughts.plan.expectations import CHARACTERS_PER_TOKEN
from openthoughts.plan.register import KINDS
from openthoughts.plan.stages import Stage
from openthoughts.sources.connectors import DESCRIPTIVE
from openthoughts.sources.entries import counted_rows, fetched_entry
from openthoughts.sources.noted import ARCHITECTURES, noted_rows

NOT_FETCHED = DESCRIPTIVE | {
    "price", "serving", "endpoint", "parameters", "architecture", "template", "tokenizer", "shutdown_date",
}  # fmt: skip
"""Keys of catalog entries that never change what is fetched, so they are not part of an id."""


class Builder:
    """Builds the stages of a plan; stages that agree are one object."""

    def __init__(
        self,
        catalog: Catalog,
        content: ContentOf = content_of,
        shard_hours: float | None = None,
        gpu: str | None = None,
        accelerator: str = "cuda",
    ) -> None:
        self.catalog = catalog
        self.content = content
        self.shard_hours = shard_hours
        self.gpu = gpu
        self.accelerator = accelerator
        self.index: dict[tuple[str, str], Stage] = {}
        self._fetched: dict[tuple[str, str], Stage] = {}
        self.judgements: dict[Stage, tuple[Stage, ...]] = {}

    def add(
        self,
        kind: str,
        label: str,
        settings: Settings,
        inputs: Mapping[str, Iterable[Stage]] | None = None,
        execution: Settings | None = None,
    ) -> Stage:
        """The stage of these settings and inputs (an existing one where there is one)."""
        roles = {role: tuple(stages) for role, stages in (inputs or {}).items()}
        made_of = {role: [f"{stage.kind}/{stage.id}" for stage in stages] for role, stages in roles.items()}
        key = digest([kind, KINDS[kind].version, settings, made_of], 12)
        identifier = f"{label}-{key}"
        stage = self.index.get((kind, identifier))
        if stage is None:
            stage = Stage(kind, identifier, settings, roles, execution or {})
            self.index[kind, identifier] = stage
        return stage

    def tighten(self, stage: Stage, execution: Mapping[str, str], strict: str) -> None:
        """Run a stage that several recipes share as the strictest of them says."""
        for key, value in execution.items():
            if value == strict and stage.execution[key] != strict:
                cast(dict[str, str], stage.execution)[key] = strict

    def fetched(self, kind: str, name: str) -> Stage:
        """A source, benchmark or model of the catalog, at the revision of the lock."""
        known = self._fetched.get((kind, name))
        if known is None:
            entries: Mapping[str, Mapping[str, Any]] = getattr(self.catalog, f"{kind}s")
            entry = {key: value for key, value in fetched_entry(entries[name]).items() if key not in NOT_FETCHED}
            if kind == "model" and (args := changing(entries[name].get("serving", {}).get("engine_args") or "")):
                entry["engine_args"] = args
            settings: dict[str, Any] = {"name": name, "entry": entry}
            pin = self.catalog.lock.get(f"{kind}s", {}).get(name)
            if pin is not None:
                settings["pin"] = pin
            elif local := local_pins(entry, self.content):
                settings["pin"] = local
            known = self.add(kind, name, settings, execution=self.execution(kind, name))
            self._fetched[kind, name] = known
        return known

    def execution(self, kind: str, name: str) -> Settings:
        """The whole entry of the catalog; a model's with its architecture, where it is known, and the planned GPU.

        That of a source or benchmark without ``rows`` has those that can be counted, or that the lock has noted.
        """
        entry: dict[str, Any] = dict(getattr(self.catalog, f"{kind}s")[name])
        if kind != "model" and "rows" not in entry:
            counted = counted_rows(entry, self.catalog.lock.get(noted_rows(kind), {}).get(name))
            entry |= {} if counted is None else {"rows": counted.rows}
        if kind == "model" and entry["kind"] != API:
            if "architecture" not in entry and (known := known_architecture(name, entry, self.catalog.lock)):
                entry["architecture"] = known
            entry["accelerator"] = self.accelerator
            if self.gpu is not None:
                entry["gpu"] = self.catalog.gpus[self.gpu]
        return entry

    def model(self, name: str) -> Stage:
        """A model of the catalog."""
        return self.fetched("model", name)

    def prompt(self, name: str | None) -> tuple[str | None, str | None]:
        """Digest and path of a prompt."""
        if name is None:
            return None, None
        prompt = self.catalog.prompts[name]
        return prompt.digest, prompt.path

    def prompt_tokens(self, name: str | None) -> int:
        """Expected tokens of a prompt, without its question."""
        return 0 if name is None else len(self.catalog.prompts[name].text) // CHARACTERS_PER_TOKEN


def known_architecture(name: str, entry: Settings, lock: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the ``config.json`` of a model says: that of its folder, or what the lock has noted; null without either."""
    if entry["kind"] != "folder":
        noted: dict[str, Any] | None = lock.get(ARCHITECTURES, {}).get(name)
        return noted
    try:
        config = json.loads((located(entry["path"]) / "config.json").read_text(encoding="utf-8"))
        return Architecture.from_config(config).model_dump(exclude_unset=True)
    except (OSError, ValueError, TypeError):
        return None


Given = TypeVar("Given")


def needed(value: Given | None) -> Given:
    """A setting that validation has seen to be there."""
    assert value is not None
    return value
