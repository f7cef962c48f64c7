"""What a recipe is made of: its stages, their files, settings and counts, and the versions of what made them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openthoughts.base.cli import UserError
from openthoughts.base.files import replacing
from openthoughts.plan.stages import Plan, RecipePlan

PACKAGES = ("snakemake", "polars", "pyarrow", "openai", "math-verify", "reasoning-gym")
"""The packages whose versions a manifest names."""


TOLD = ("licence", "homepage", "prompt", "prompts", "price")
"""What a manifest reports of how a stage is run."""


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe: what it does, for which domain (null: all), its id and its main file.

    ``settings`` and ``inputs`` (role -> KIND/ID) are what its id is the hash of, ``about`` is what else is reported.
    """

    kind: str
    domain: str | None
    identity: str
    path: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    rows: int | None = None

    @property
    def name(self) -> str:
        """KIND/ID, as other stages' ``inputs`` call it."""
        return f"{self.kind}/{self.identity}"

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.path.parent


@dataclass(frozen=True)
class Recipe:
    """The stages of a recipe by KIND/ID, inputs before what is made of them."""

    name: str
    stages: Mapping[str, Stage]
    counts: Mapping[str, Any] | None = None
    funnel: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(name: str, stages: Sequence[Stage]) -> Recipe:
        """A recipe of these stages."""
        return Recipe(name, {stage.name: stage for stage in stages})

    @staticmethod
    def planned(plan: Plan, recipe: RecipePlan) -> Recipe:
        """A recipe as its plan has it."""
        domain_of = {stage: domain for domain, stages in recipe.domains.items() for stage in stages.values()}
        stages = [
            Stage(
                stage.kind,
                domain_of.get(stage),
                stage.id,
                Path(plan.path(stage)),
                stage.settings,
                {role: [f"{other.kind}/{other.id}" for other in others] for role, others in stage.inputs.items()},
                {key: stage.execution[key] for key in TOLD if stage.execution.get(key)},
            )
            for stage in recipe.stages()
        ]
        return Recipe.of(recipe.name, stages)

    @staticmethod
    def read(manifest: Path) -> Recipe:
        """The recipe that a manifest describes. ``UserError`` where it is missing, or not whole."""
        told = _json(manifest)
        try:
            stages = [
                Stage(
                    each["kind"], each["domain"], each["id"], manifest.parent / each["path"], each["settings"],
                    each["inputs"], each["about"], each["rows"],
                )
                for each in told["stages"]
            ]  # fmt: skip
            by_name = {stage.name: stage for stage in stages}
            return Recipe(told["recipe"], by_name, told["counts"], told["funnel"], told["versions"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{manifest} is not a manifest of this version: delete it and run again.") from error

    def of_kind(self, *kinds: str) -> list[Stage]:
        """The stages of some kinds, in order."""
        return [stage for stage in self.stages.values() if stage.kind in kinds]

    def inputs(self, stage: Stage, role: str) -> list[Stage]:
        """The stages of a role of a stage."""
        return [self.stages[name] for name in stage.inputs.get(role, ()) if name in self.stages]

    def upstream(self, stage: Stage, role: str = "questions") -> Iterator[Stage]:
        """What a stage is made of by one role, all the way back, the nearest first."""
        for other in self.inputs(stage, role):
            yield other
            yield from self.upstream(other, role)

    def domains(self) -> dict[str, list[Stage]]:
        """Domain -> its stages of questions from the sources to the drawn ones, each once, in the order of the flow."""
        found = {}
        for drawn in self.of_kind("drawn"):
            if drawn.domain is not None:
                chain = {stage.name: stage for stage in [*reversed(list(self.upstream(drawn))), drawn]}
                found[drawn.domain] = list(chain.values())
        return found

    def answers(self) -> list[Stage]:
        """The teachers' answers to its drawn questions; those that are a classifier's examples are not among them."""
        return [stage for stage in self.of_kind("answers") if stage.domain is not None]


def manifest(recipe: Recipe, folder: Path, counts: Path | None, funnel: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of a recipe as JSON values; paths are relative to ``folder``.

    Raises ``UserError`` where a stage's file is missing.
    """
    return {
        "recipe": recipe.name,
        "counts": None if counts is None else _json(counts),
        "funnel": list(funnel),
        "stages": [_described(stage, folder) for stage in recipe.stages.values()],
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _described(stage: Stage, folder: Path) -> dict[str, Any]:
    if not stage.path.exists():
        raise UserError(f"{stage.path} does not exist: run the stage that makes it.")
    return {
        "kind": stage.kind,
        "domain": stage.domain,
        "id": stage.identity,
        "path": os.path.relpath(stage.path, folder),
        "settings": dict(stage.settings),
        "inputs": {role: list(names) for role, names in stage.inputs.items()},
        "about": dict(stage.about),
        "rows": _rows(stage.path),
        "bytes": stage.path.stat().st_size if stage.path.is_file() else None,
    }


def _rows(path: Path) -> int | None:
    """How many rows a Parquet file has; null for any other."""
    if path.suffix != ".parquet" or not path.is_file():
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a whole Parquet file: delete it and run again.") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a JSON file: run the stage that makes it.") from error


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def link(path: Path, target: Path) -> None:
    """Make ``path`` a relative symbolic link to ``target``, in place of the link that was there.

    Raises ``UserError`` where ``path`` is something other than a link, or ``target`` does not exist.
    """
    if path.exists() and not path.is_symlink():
        raise UserError(f"{path} is in the way of a link to {target}: move it away.")
    if not target.exists():
        raise UserError(f"{target} does not exist: run the stage that makes it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.symlink_to(os.path.relpath(target, path.parent))
