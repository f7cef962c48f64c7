"""What is wrong with an experiment: each problem one sentence, where the experiment says what is wrong."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from openthoughts.base.options import checked, checked_further, did_you_mean
from openthoughts.plan.arms import arm_evaluation, arm_overrides, arm_recipe, colliding_arms, curve_points
from openthoughts.plan.catalog import Catalog
from openthoughts.plan.prompt_problems import unknown
from openthoughts.plan.recipe_problems import benchmark_problems, recipe_problems
from openthoughts.plan.settings.experiment import Experiment
from openthoughts.plan.settings.recipe import Recipe
from openthoughts.plan.settings.student import Evaluation


def experiment_problems(
    where: str,
    experiment: Experiment,
    recipes: Mapping[str, Recipe],
    catalog: Catalog,
    licences: Sequence[str] | None = None,
) -> list[str]:
    """Problems of an experiment: each distinct setting is tried on the base recipe alone."""
    problems = comparison_problems(where, experiment, catalog)
    for place, model in enumerate(experiment.models):
        problems += unknown(f"{where}.models.{place}", "model", model, catalog.models)
    if experiment.base is None:
        wanted, broken = checked(Evaluation, arm_evaluation(experiment, {}), f"{where}.evaluation")
        known = benchmark_problems(f"{where}.evaluation", wanted.benchmarks, catalog) if wanted else []
        return [*problems, *broken, *known]
    base = recipes[experiment.base]
    if base.training is None or base.evaluation is None:
        problems.append(f"{where}.base: '{experiment.base}' needs `training` and `evaluation` to be compared")
    arms = arm_overrides(experiment)
    for label in colliding_arms(experiment):
        problems.append(f"{where}.vary: two arms would be called '{label}': name them under `arms:`")
    if experiment.seeds and any("training.seed" in overrides for overrides in arms.values()):
        problems.append(f"{where}.seeds: training.seed is varied already: leave one of the two out")
    if experiment.draws > 1 and all(domain.draw is None for domain in base.domains.values()):
        problems.append(f"{where}.draws: '{experiment.base}' draws all questions, so its draws are equal: set `draw`")
    return problems + arm_problems(where, experiment, base, catalog, licences)


def arm_problems(
    where: str, experiment: Experiment, base: Recipe, catalog: Catalog, licences: Sequence[str] | None
) -> list[str]:
    """Problems of the recipes of an experiment's arms, each once, where the experiment says what is wrong.

    What the base recipe has, too, is told of the base recipe.
    """

    def look(recipe: Recipe) -> list[str]:
        return recipe_problems("arm", recipe, catalog, licences)

    problems: list[str] = []
    written = base.written()
    tried: set[str] = set()
    told = {problem.removeprefix("base") for problem in recipe_problems("base", base, catalog, licences)}
    for number, (arm, overrides) in enumerate(arm_overrides(experiment).items()):
        new = {f"{path}={value!r}" for path, value in overrides.items()} - tried
        tried |= new
        if not new and number:
            continue
        settings = arm_recipe(experiment, written, overrides)
        _, broken = checked_further(
            Recipe, settings, "arm", lambda each: recipe_problems("arm", each, catalog, licences)
        )
        for problem in broken:
            if (sentence := problem.removeprefix("arm")) not in told:
                told.add(sentence)
                problems.append(f"{where}.{_where_varied(experiment, arm, overrides, sentence)}")
    return problems


def _where_varied(experiment: Experiment, arm: str, overrides: Mapping[str, Any], sentence: str) -> str:
    """A problem of an arm's recipe, `.PATH: …`, at the dotted path of the experiment that it comes from."""
    place, _, told = sentence.removeprefix(".").partition(": ")
    unknown_key = re.match(r"unknown key '([^']+)'", told)
    keys = [*place.split("."), *([unknown_key[1]] if unknown_key else [])]
    cause = max(overrides, key=lambda each: _shared(each.split("."), keys), default="")
    if not _shared(cause.split("."), keys):
        return f"arms.{arm}{sentence}"
    named = [
        name
        for name, settings in experiment.arms.items()
        if settings and cause in settings and (arm == name or arm.startswith(f"{name}-"))
    ]
    section = f"arms.{max(named, key=len)}" if named else "vary" if cause in experiment.vary else "set"
    if not f"{place}.".startswith(f"{cause}."):
        return f"{section}.{cause}: {told}" if unknown_key else f"{section}.{cause}: {place}: {told}"
    return f"{section}.{place}: {told}"


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many keys two paths begin with together."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def comparison_problems(where: str, experiment: Experiment, catalog: Catalog) -> list[str]:
    """What cannot be compared or drawn: an arm that is not there, a curve without numbers, unknown figures."""
    problems: list[str] = []
    arms = [*arm_overrides(experiment), *experiment.models]
    compare_to = experiment.compare_to
    if compare_to is not None and compare_to not in arms:
        problems.append(f"{where}.compare_to: there is no arm '{compare_to}'{did_you_mean(compare_to, arms)}")
    for arm in sorted({arm for arm in arms if arms.count(arm) > 1}):
        problems.append(f"{where}.models: '{arm}' is the name of another arm too: name that one under `arms:`")
    published = experiment.published
    if published is not None and published not in catalog.published:
        problems.append(f"{where}.published: the catalog has no figures '{published}'")
    if (experiment.plot == "curve") != (experiment.x is not None):
        problems.append(f"{where}.x: it belongs to `plot: curve`, and a curve needs it (a varied path, or rows)")
    elif experiment.x is not None and experiment.x != "rows":
        for arm, (value, _) in curve_points(experiment, experiment.x).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                problems.append(f"{where}.x: the arm '{arm}' sets no number at {experiment.x}")
    return problems
