"""The plan as a file, for the programs that describe a configuration instead of making one stage of it.

The file holds the configuration as it was run and every stage of its plan. Its name is the digest of its content, so
one file stands for one plan for ever, and a short command line names it.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.files import write_text
from openthoughts.base.options import did_you_mean
from openthoughts.plan import validation
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.stages import ExperimentPlan, Plan, RecipePlan

PLANS = "plans"
"""Where plans and lists of arguments lie, below the results."""


@dataclass(frozen=True)
class Configured:
    """A configuration and its plan."""

    config: Mapping[str, Any]
    plan: Plan

    @functools.cached_property
    def settings(self) -> Configuration:
        """The configuration with its defaults."""
        return validation.checked_configuration(self.config)

    @property
    def store(self) -> Path:
        """The completion store."""
        return Path(self.settings.store)

    @property
    def accelerator(self) -> str:
        """What engines run on: ``cuda`` or ``cpu``."""
        return self.settings.accelerator

    def varying(self, recipe: str) -> list[ExperimentPlan]:
        """The experiments among the targets that vary a recipe."""
        experiments = self.settings.experiments
        return [planned for name, planned in self.plan.experiments.items() if experiments[name].base == recipe]

    def everything(self) -> Plan:
        """The plan of every configured recipe and experiment, asked for or not."""
        targets = [*self.settings.recipes, *self.settings.experiments]
        return _planned({**self.config, "targets": targets}).plan


def _planned(config: Mapping[str, Any]) -> Configured:
    return Configured(config, make_plan(*validation.configured(config)))


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which configuration is meant: its plan, or its files."""
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--plan", type=Path, help="plan that the workflow wrote (results/plans/DIGEST.json)")
    either.add_argument("--config", type=Path, nargs="+", help="configuration files, the last one wins")
    parser.add_argument("--set", default="{}", metavar="JSON", help="settings that win over the files (JSON object)")


def configured(options: argparse.Namespace) -> Configured:
    """The configuration that the arguments of ``add_plan_arguments`` mean."""
    return read_plan(options.plan) if options.plan else _planned(read_config(options.config, options.set))


def plan_text(config: Mapping[str, Any], plan: Plan) -> str:
    """The file's content."""
    return json.dumps({"config": config, "plan": plan.to_json()}, ensure_ascii=False)


def read_plan(path: Path) -> Configured:
    """The configuration and the plan of a file. ``UserError`` where it is missing, or not whole."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Configured(record["config"], Plan.from_json(record["plan"]))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run the workflow again, which writes it.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a whole plan of this version: delete it and run again.") from error


def recipe_of(path: Path, name: str) -> tuple[Configured, RecipePlan]:
    """A plan and one of its recipes. ``UserError`` where it has none of that name."""
    of = read_plan(path)
    if name not in of.plan.recipes:
        raise UserError(f"{path} has no recipe {name}{did_you_mean(name, of.plan.recipes)}: correct --recipe.")
    return of, of.plan.recipes[name]


def content_path(folder: Path | str, text: str, suffix: str) -> Path:
    """Where a text lies that is addressed by its content."""
    return Path(folder) / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}{suffix}"


def write_once(path: Path, text: str) -> None:
    """Write a file that is addressed by its content, unless it is there."""
    if not path.exists():
        write_text(text, path)
