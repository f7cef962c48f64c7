"""The arms of an experiment, and their comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from openthoughts.plan.arms import arm_evaluation, arm_recipes, curve_points
from openthoughts.plan.catalog import Catalog
from openthoughts.plan.expectations import expected_rows
from openthoughts.plan.parts.builder import Builder, needed
from openthoughts.plan.parts.evaluation import plan_evaluation, plan_judged
from openthoughts.plan.parts.recipe import plan_recipe
from openthoughts.plan.settings.experiment import Experiment
from openthoughts.plan.settings.recipe import Recipe
from openthoughts.plan.settings.student import Evaluation
from openthoughts.plan.stages import ExperimentPlan, RecipePlan, Stage


def plan_experiment(build: Builder, name: str, experiment: Experiment, recipes: Mapping[str, Recipe]) -> ExperimentPlan:
    """The arms of an experiment and their comparison."""
    arms: dict[str, tuple[RecipePlan, ...]] = {}
    for arm, variants in arm_recipes(experiment, recipes).items():
        arms[arm] = tuple(plan_recipe(build, f"{name}.{arm}", variant) for variant in variants)
    evaluations = {arm: tuple(plan.evaluations["student"] for plan in plans) for arm, plans in arms.items()}
    base = recipes[experiment.base].written() if experiment.base else {}
    wanted = Evaluation.model_validate(arm_evaluation(experiment, base))
    for model in experiment.models:
        evaluations[model] = (plan_evaluation(build, model, build.model(model), wanted),)
    settings = {
        "experiment": name,
        "arms": [arm for arm, stages in evaluations.items() for _ in stages],
        "compare_to": experiment.compare_to or next(iter(evaluations)),
        "plot": experiment.plot,
        **benchmark_groups(wanted.benchmarks, build.catalog),
    }
    if experiment.plot == "curve":
        settings["x"] = experiment.x
        settings["points"] = _points(experiment, arms)
    if experiment.published is not None:
        settings["published"] = build.catalog.published[experiment.published]
    inputs = {"evaluations": [stage for stages in evaluations.values() for stage in stages]}
    judged = {
        arm: tuple(one for each in stages for one in plan_judged(build, each)) for arm, stages in evaluations.items()
    }
    stage = build.add("experiment", name, settings, inputs)
    return ExperimentPlan(name, arms, evaluations, judged, stage, experiment.about)


def benchmark_groups(names: Iterable[str], catalog: Catalog) -> dict[str, Any]:
    """``averaged``: the benchmarks of the average; ``groups``: averages of some, by group and by domain of the catalog.

    A group that is everything, or has a benchmark's name, is left out. Benchmarks of what is not reasoning
    (``averaged: false``) are in no average but their own group's.
    """
    listed = sorted(names)
    averaged = [name for name in listed if catalog.benchmarks[name].get("averaged", True)] or listed
    groups: dict[str, list[str]] = {}
    for name in listed:
        entry = catalog.benchmarks[name]
        labels = [entry["group"]] if "group" in entry else []
        labels += [entry["domain"]] if name in averaged else []
        for label in labels:
            groups.setdefault(label, []).append(name)
    kept = {label: of for label, of in groups.items() if of != averaged and label not in {*listed, "average"}}
    return {"averaged": averaged, "groups": dict(sorted(kept.items()))}


def _points(experiment: Experiment, arms: Mapping[str, tuple[RecipePlan, ...]]) -> dict[str, tuple[Any, str]]:
    """Arm -> where it lies on the axis of the curves, and its curve."""
    points = curve_points(experiment, needed(experiment.x))
    if experiment.x != "rows":
        return points
    return {arm: (expected_answers(arms[arm][0].dataset), curve) for arm, (_, curve) in points.items()}


def expected_answers(dataset: Stage) -> int | None:
    """Answers that a dataset is made from: questions drawn, times samples, or what is kept, over its domains."""
    known: list[int] = []
    for filtered in dataset.inputs["answers"]:
        answers = filtered.input("answers")
        questions = expected_rows(answers.input("questions"))
        if questions is None:
            return None
        made = questions * answers.settings["samples"]
        known.append(min(made, filtered.settings["options"].get("keep") or made))
    return sum(known)
