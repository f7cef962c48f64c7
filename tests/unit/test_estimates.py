"""Estimates agree with the public figures of the recipe, and follow the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.catalog import read_catalog
from lib.config import read_yaml, with_setting
from lib.estimates import Estimate, estimate, total
from lib.plan import Plan, expected_rows, make_plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def default_config() -> dict[str, Any]:
    config: dict[str, Any] = read_yaml(ROOT / "config.yaml")
    return config


@pytest.fixture(scope="module")
def default_plan(default_config: dict[str, Any]) -> Plan:
    return make_plan(default_config, read_catalog([ROOT / "catalog"]))


@pytest.fixture(scope="module")
def default(default_plan: Plan) -> dict[str, Estimate]:
    return estimate(default_plan.recipes["openthoughts3"].stages())


def test_the_default_recipe_samples_what_openthoughts3_holds(default: dict[str, Estimate]) -> None:
    assert default["answers"].requests == 1_200_000
    assert default["answers"].output_tokens == pytest.approx(17.8e9, rel=0.02)


def test_gpu_hours_lie_within_the_public_spread(default: dict[str, Estimate]) -> None:
    assert 2_400 <= default["answers"].gpu_hours <= 5_600, "2,000 to 900 tokens a second and GPU"
    assert default["student"].gpu_hours == pytest.approx(4_000, rel=0.25), "35 % utilisation"


def test_labels_cost_what_a_million_questions_cost(default_config: dict[str, Any]) -> None:
    config = default_config
    for domain in config["recipes"]["openthoughts3"]["domains"]:
        config = with_setting(config, f"recipes.openthoughts3.domains.{domain}.select.model", "gpt-4o-mini")
    plan = make_plan(config, read_catalog([ROOT / "catalog"]))
    labels = {stage.id: stage for stage in plan.recipes["openthoughts3"].stages() if stage.kind == "labels"}
    lengths = [stage for stage in labels.values() if stage.settings["method"] == "response_length"]
    told = total([estimate([stage])["labels"] for stage in lengths])
    assert told.usd / told.requests * 1e6 == pytest.approx(442, rel=0.01)
    assert told.usd_batch == pytest.approx(told.usd / 2)


def test_the_funnel_is_the_published_one(default_plan: Plan) -> None:
    recipe = default_plan.recipes["openthoughts3"]
    drawn = {domain: expected_rows(stages["drawn"]) for domain, stages in recipe.domains.items()}
    assert drawn == {"math": 53_125, "code": 15_625, "science": 6_250}
    sourced: dict[str, int] = {}
    for domain, stages in recipe.domains.items():
        clean = [selected.input("questions") for selected in stages["mixed"].inputs["questions"]]
        sourced[domain] = sum(expected_rows(stage) or 0 for stage in clean)
    assert sourced["math"] == 2_900_000
    assert sourced["code"] == 575_000
    assert sourced["science"] == 593_000


def test_more_samples_cost_more_answers_and_training_but_no_labels(default_config: dict[str, Any]) -> None:
    more = with_setting(default_config, "recipes.openthoughts3.answers.samples", 32)
    grown = estimate(make_plan(more, read_catalog([ROOT / "catalog"])).recipes["openthoughts3"].stages())
    base = estimate(make_plan(default_config, read_catalog([ROOT / "catalog"])).recipes["openthoughts3"].stages())
    assert grown["answers"].gpu_hours == pytest.approx(2 * base["answers"].gpu_hours)
    assert grown["student"].gpu_hours == pytest.approx(2 * base["student"].gpu_hours)
    assert grown["labels"].usd == base["labels"].usd
