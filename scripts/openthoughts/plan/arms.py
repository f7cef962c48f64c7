"""From an experiment to the recipes of its arms."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from openthoughts.plan.config import Settings, merged, with_setting
from openthoughts.plan.settings.experiment import Experiment
from openthoughts.plan.settings.recipe import Recipe, resolved_recipe


def arm_overrides(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The dotted settings of each arm, by the arm's name: the grid of ``vary``, crossed with the named ``arms``.

    What ``set`` says holds for all. A named arm that is null is left out, so that a size can take one away.
    """
    if experiment.base is None:
        return {}
    grid = itertools.product(*experiment.vary.values())
    return {
        _arm_name(arm, values): {**experiment.set, **dict(zip(experiment.vary, values, strict=True)), **more}
        for values, (arm, more) in itertools.product(grid, _named_arms(experiment).items())
    }


def _value_label(value: Any) -> str:
    """A value as part of an arm's name."""
    if isinstance(value, Mapping):
        return "_".join(f"{key}={_value_label(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "+".join(_value_label(item) for item in value)
    return "none" if value is None else re.sub(r"[^a-z0-9._=+-]+", "_", str(value).lower())


def colliding_arms(experiment: Experiment) -> list[str]:
    """Names that the varied values give more than once."""
    labels = ["-".join(map(_value_label, values)) for values in itertools.product(*experiment.vary.values())]
    return sorted({label for label in labels if labels.count(label) > 1})


def arm_recipes(experiment: Experiment, recipes: Mapping[str, Recipe]) -> dict[str, list[Recipe]]:
    """The resolved recipes of each arm: one for each draw of questions and training seed."""
    if experiment.base is None:
        return {}
    base = recipes[experiment.base].written()
    arms: dict[str, list[Recipe]] = {}
    for arm, overrides in arm_overrides(experiment).items():
        recipe = resolved_recipe(arm_recipe(experiment, base, overrides))
        seeds = experiment.seeds or [recipe.training.seed if recipe.training else 0]
        arms[arm] = [_repeated(recipe, draw, seed) for draw in range(experiment.draws) for seed in seeds]
    return arms


def arm_recipe(experiment: Experiment, base: Settings, overrides: Settings) -> dict[str, Any]:
    """The base recipe as written, with the dotted settings of an arm; a domain that is set to null is left out."""
    recipe: dict[str, Any] = dict(base)
    for path, value in overrides.items():
        recipe = with_setting(recipe, path, value)
    if isinstance(recipe["domains"], Mapping):
        recipe["domains"] = {name: block for name, block in recipe["domains"].items() if block is not None}
    if isinstance(recipe.get("evaluation"), Mapping):
        recipe["evaluation"] = arm_evaluation(experiment, recipe)
    return recipe


def arm_evaluation(experiment: Experiment, recipe: Settings) -> dict[str, Any]:
    """The evaluation of an experiment's arms: the recipe's, with what the experiment changes."""
    evaluation = merged(recipe.get("evaluation") or {}, experiment.evaluation)
    if experiment.benchmarks is not None:
        evaluation["benchmarks"] = experiment.benchmarks
    return evaluation


def curve_points(experiment: Experiment, path: str) -> dict[str, tuple[Any, str]]:
    """Arm -> its value at the dotted ``path`` (null where it sets none) and the name of the curve it belongs to.

    A curve joins the arms that differ in nothing else.
    """
    points: dict[str, tuple[Any, str]] = {}
    for values in itertools.product(*experiment.vary.values()):
        grid = dict(zip(experiment.vary, values, strict=True))
        others = [_value_label(value) for name, value in grid.items() if name != path]
        for arm, more in _named_arms(experiment).items():
            curve = [arm, *others] if path in grid else others
            points[_arm_name(arm, values)] = ({**grid, **more}.get(path), "-".join(part for part in curve if part))
    return points


def _named_arms(experiment: Experiment) -> dict[str, Settings]:
    return {name: more for name, more in experiment.arms.items() if more is not None} or {"": {}}


def _arm_name(arm: str, values: Iterable[Any]) -> str:
    return "-".join(part for part in (arm, *map(_value_label, values)) if part) or "base"


def _repeated(recipe: Recipe, draw: int, seed: int) -> Recipe:
    """The recipe with a training seed and its ``draw``-th independent draw of questions (the 0-th is its own)."""
    training = recipe.training and recipe.training.model_copy(update={"seed": seed})
    domains = {
        name: domain.model_copy(update={"draw_seed": domain.draw_seed + draw})
        for name, domain in recipe.domains.items()
    }
    return recipe.model_copy(update={"training": training, "domains": domains})
