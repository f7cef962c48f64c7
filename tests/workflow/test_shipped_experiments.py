"""Every shipped experiment makes a complete plan at each size, with what it is about, and its demo a complete graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workflow.conftest import Checkout

from openthoughts.costs.estimates import estimate, total
from openthoughts.plan.arms import arm_overrides
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan
from openthoughts.plan.validation import checked_configuration

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in (ROOT / "experiments").glob("*.yaml") if path.name != "base.yaml")
NAMES = [path.stem for path in FILES]

ABLATIONS = ("sources", "mixing", "question-filters", "dedup-samples", "answer-filters", "teachers")
"""Ablations that the paper made for each domain."""


def planned(path: Path, size: str, gpu: str | None = None) -> tuple[Mapping[str, Any], Plan]:
    config = read_config([ROOT / "config.yaml", path], json.dumps({"size": size, "gpu": gpu}))
    return config, make_plan(config, read_catalog(config["catalog"]))


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("size", ["paper", "small", "demo"])
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_an_experiment_is_planned_at_every_size(path: Path, size: str) -> None:
    config, plan = planned(path, size)
    assert set(plan.experiments) == set(config["targets"]) == set(config["experiments"])
    for experiment in plan.experiments.values():
        assert experiment.about.endswith("?")
        assert len(experiment.evaluations) >= 2
        shared = [set(experiment.arm_stages(arm)) for arm in experiment.arms]
        assert all(one & other for one in shared for other in shared)
    assert not [warning for warning in plan.warnings if "evaluated, yet" in warning]


def test_the_ablations_of_the_paper_have_its_sizes() -> None:
    arms: dict[str, int] = {}
    for path in FILES:
        config, _ = planned(path, "paper")
        experiments = checked_configuration(config).experiments
        arms |= {name: len(arm_overrides(experiment)) for name, experiment in experiments.items()}
    assert {f"{ablation}-{domain}" for ablation in ABLATIONS for domain in ("code", "math", "science")} <= set(arms)
    assert (arms["sources-code"], arms["sources-math"], arms["sources-science"]) == (27, 21, 11)
    assert (arms["mixing-code"], arms["dedup-samples-science"], arms["teachers-math"], arms["scale"]) == (5, 9, 3, 8)


def test_every_arm_of_an_ablation_has_the_rows_of_the_paper() -> None:
    for name in ("sources", "mixing", "question-filters", "dedup-samples", "teachers"):
        _, plan = planned(ROOT / "experiments" / f"{name}.yaml", "paper")
        for experiment in plan.experiments.values():
            for arm, (recipe,) in experiment.arms.items():
                (stages,) = recipe.domains.values()
                drawn, answers = stages["drawn"].settings, stages["answers"].settings
                assert drawn["count"] * answers["samples"] == pytest.approx(31_600, abs=16), (experiment.name, arm)


def test_the_ladder_climbs_as_in_the_paper() -> None:
    _, plan = planned(ROOT / "experiments" / "scale.yaml", "paper")
    rows = [x for x, _ in plan.experiments["scale"].stage.settings["points"].values()]
    assert rows == pytest.approx([316, 1000, 3160, 10_000, 31_600, 100_000, 316_000, 1_200_000], rel=0.02)


def test_published_figures_name_arms_and_panels_that_are_there() -> None:
    figures = yaml.safe_load((ROOT / "catalog" / "published.yaml").read_text(encoding="utf-8"))
    used = set()
    for path in FILES:
        _, plan = planned(path, "paper")
        for experiment in plan.experiments.values():
            settings = experiment.stage.settings
            if "published" not in settings:
                continue
            (name,) = [name for name, one in figures.items() if one == settings["published"]]
            used.add(name)
            panels = {"average", *settings["groups"], *settings["averaged"]}
            assert all(set(values) <= panels for values in settings["published"]["arms"].values())
            assert set(settings["published"]["arms"]) & set(experiment.arms)
    assert used == set(figures)


def costs(path: Path, size: str) -> list[str]:
    """Arms, requests, dollars and GPU-hours of a file as the documentation writes them; + is "at least", ? unknown."""
    _, plan = planned(path, size, "h100")
    recipes = [stage for recipe in plan.recipes.values() for stage in recipe.stages()]
    stages = [*recipes, *(stage for experiment in plan.experiments.values() for stage in experiment.stages())]
    whole = total(estimate(dict.fromkeys(stages)).values())
    arms = sum(len(experiment.evaluations) for experiment in plan.experiments.values())
    requests = f"{whole.requests / 1e6:.1f}M" if whole.requests >= 1e6 else f"{whole.requests / 1e3:.0f}k"
    told = {"requests": requests, "usd": f"{whole.usd:,.0f}", "gpu_hours": f"{whole.gpu_hours:,.0f}"}
    partly = {quantity: "?" if text == "0" else f"{text}+" for quantity, text in told.items()}
    return [str(arms), *(partly[quantity] if quantity in whole.unknown else text for quantity, text in told.items())]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_documentation_tells_what_an_experiment_costs(path: Path) -> None:
    lines = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| `{path.stem}` |")]
    told = [cell.strip() for cell in line.strip("|").split("|")][2:]
    assert told == costs(path, "paper") + costs(path, "small")


def test_no_demo_shows_published_figures() -> None:
    for path in FILES:
        _, plan = planned(path, "demo")
        assert not any("published" in experiment.stage.settings for experiment in plan.experiments.values())


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_demo_of_an_experiment_is_a_complete_graph(checkout: Checkout, path: Path) -> None:
    jobs = checkout.jobs("--configfile", f"experiments/{path.name}", "--config", "size=demo")
    experiments = list(yaml.safe_load(path.read_text(encoding="utf-8"))["experiments"])
    assert jobs["compare_arms"] == jobs["describe_experiment"] == len(experiments)
    assert jobs["train_student"] >= 1
