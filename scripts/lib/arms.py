"""From an experiment to the recipes of its arms."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from lib.config import with_setting
from lib.recipes import Settings


def arm_overrides(experiment: Settings) -> dict[str, dict[str, Any]]:
    """The dotted settings of each arm, by the arm's name: the grid of ``vary``, crossed with the named ``arms``."""
    grid: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*experiment["vary"].values()):
        label = "-".join(_value_label(value) for value in values)
        grid[label] = dict(zip(experiment["vary"], values, strict=True))
    named: Mapping[str, Settings] = experiment["arms"] or {"": {}}
    arms = {}
    for (label, setting), (arm, more) in itertools.product(grid.items(), named.items()):
        arms["-".join(part for part in (arm, label) if part) or "base"] = {**setting, **more}
    return arms


def _value_label(value: Any) -> str:
    """A value as part of an arm's name."""
    if isinstance(value, Mapping):
        return "_".join(f"{key}={_value_label(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "+".join(_value_label(item) for item in value)
    return "none" if value is None else re.sub(r"[^a-z0-9._=+]+", "_", str(value).lower())


def colliding_arms(experiment: Settings) -> list[str]:
    """Names that the varied values give more than once."""
    labels = ["-".join(map(_value_label, values)) for values in itertools.product(*experiment["vary"].values())]
    return sorted({label for label in labels if labels.count(label) > 1})


def arm_recipes(name: str, experiment: Settings, recipes: Mapping[str, Settings]) -> dict[str, list[dict[str, Any]]]:
    """The recipes of each arm: one for each draw of questions and training seed."""
    base = recipes[experiment["base"]]
    arms: dict[str, list[dict[str, Any]]] = {}
    for arm, overrides in arm_overrides(experiment).items():
        recipe: dict[str, Any] = dict(base)
        for path, value in overrides.items():
            recipe = with_setting(recipe, path, value)
        if experiment["benchmarks"] is not None:
            recipe = with_setting(recipe, "evaluation.benchmarks", experiment["benchmarks"])
        seeds = experiment["seeds"] or [recipe.get("training", {}).get("seed", 42)]
        arms[arm] = [
            _with_draw(with_setting(recipe, "training.seed", seed), draw)
            for draw in range(experiment["draws"])
            for seed in seeds
        ]
    return arms


def _with_draw(recipe: dict[str, Any], draw: int) -> dict[str, Any]:
    """The recipe with its ``draw``-th independent draw of questions (the 0-th is the recipe's own)."""
    for domain in recipe["domains"] if draw else ():
        seed = recipe["domains"][domain].get("draw_seed", 42)
        recipe = with_setting(recipe, f"domains.{domain}.draw_seed", seed + draw)
    return recipe
