"""Estimates agree with the public figures of the recipe, and follow the plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openthoughts.costs.estimates import Estimate, budget_warnings, estimate, estimate_stage, request_hours, total
from openthoughts.costs.forecast import forecast
from openthoughts.costs.spending import Spent
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import ConfigurationError, read_yaml, with_setting
from openthoughts.plan.expectations import expected_questions, expected_rows
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def default_config() -> dict[str, Any]:
    config: dict[str, Any] = read_yaml(ROOT / "config.yaml")
    return {**config, "gpu": "h100"}


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
    assert 5_500 / 1.5 <= default["answers"].gpu_hours <= 5_500 * 1.5, "about 900 tokens per second and GPU"
    assert default["student"].gpu_hours == pytest.approx(4_000, rel=0.25), "35 % utilisation"


def test_without_a_gpu_nobody_knows_gpu_hours(default_config: dict[str, Any]) -> None:
    plan = make_plan({**default_config, "gpu": None}, read_catalog([ROOT / "catalog"]))
    whole = total(estimate(plan.recipes["openthoughts3"].stages()).values())
    assert whole.gpu_hours == 0
    assert whole.unknown == {"gpu_hours": {"GPU"}}


@pytest.mark.parametrize("teacher", ["deepseek-r1", "bare"])
def test_what_is_not_known_of_a_teacher_is_told_of_everything_that_follows(
    default_config: dict[str, Any], teacher: str
) -> None:
    catalog = read_catalog([ROOT / "catalog"])
    bare = {"kind": "hub", "repository": "some/model"}
    models = {**catalog.models, "bare": bare, "deepseek-r1": {**catalog.models["deepseek-r1"], "serving": {}}}
    config = with_setting(default_config, "recipes.openthoughts3.answers.teacher", teacher)
    found = estimate(make_plan(config, replace(catalog, models=models)).recipes["openthoughts3"].stages())
    length = f"answer length of {teacher}"
    cost = "usd" if teacher == "deepseek-r1" else "gpu_hours"
    missing = f"price of {teacher}" if cost == "usd" else f"architecture of {teacher}"
    assert found["answers"].unknown[cost] == {length, missing}
    assert found["answers"].unknown["output_tokens"] == {length}
    assert found["student"].unknown["gpu_hours"] == {length}, "a training on answers of unknown length"
    assert found["tokenized"].unknown["disk_gb"] == {length}
    default = estimate(make_plan(default_config, catalog).recipes["openthoughts3"].stages())
    assert found["student"].gpu_hours < default["student"].gpu_hours < found["student"].gpu_hours_high
    assert found["model"].disk_gb < default["model"].disk_gb
    of_weights = set() if teacher == "deepseek-r1" else {f"parameters of {teacher}"}
    assert found["model"].unknown.get("disk_gb", set()) == of_weights, "hosted weights take no disk"


def test_a_student_without_parameters_keeps_its_row(default_config: dict[str, Any]) -> None:
    catalog = read_catalog([ROOT / "catalog"])
    student = {key: value for key, value in catalog.models["qwen2.5-7b-instruct"].items() if key != "parameters"}
    models = {**catalog.models, "qwen2.5-7b-instruct": student}
    found = estimate(make_plan(default_config, replace(catalog, models=models)).recipes["openthoughts3"].stages())
    assert found["student"].gpu_hours == pytest.approx(4_000, rel=0.25), "the architecture says it"
    del student["architecture"]
    found = estimate(make_plan(default_config, replace(catalog, models=models)).recipes["openthoughts3"].stages())
    parameters = {"parameters of qwen2.5-7b-instruct"}
    assert found["student"].unknown == {"gpu_hours": {"architecture of qwen2.5-7b-instruct"}, "disk_gb": parameters}


def test_a_cap_in_dollars_needs_what_it_is_kept_with_before_anything_runs(default_config: dict[str, Any]) -> None:
    config = {**default_config, "budget": {"usd": 5}}
    assert make_plan(config, read_catalog([ROOT / "catalog"])), "models of one's own GPUs cost no dollars"
    config = with_setting(config, "recipes.openthoughts3.answers.teacher", "deepseek-r1")
    with pytest.raises(ConfigurationError, match=r"budget\.usd: a cap needs the price of deepseek-r1"):
        make_plan(config, read_catalog([ROOT / "catalog"]))


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
    sourced: dict[str, tuple[int, int]] = {}
    for domain, stages in recipe.domains.items():
        clean = [selected.input("questions") for selected in stages["mixed"].inputs["questions"]]
        counted = (
            sum(expected_rows(stage) or 0 for stage in clean),
            sum(expected_questions(stage) or 0 for stage in clean),
        )
        sourced[domain] = counted
    assert sourced["math"] == (11_402_286, 600_000)
    assert sourced["code"] == (116_000 + 735_255, 116_000 + 28_319)
    assert sourced["science"] == (593_000, 593_000)


def test_more_samples_cost_more_answers_and_training_but_no_labels(default_config: dict[str, Any]) -> None:
    more = with_setting(default_config, "recipes.openthoughts3.answers.samples", 32)
    grown = estimate(make_plan(more, read_catalog([ROOT / "catalog"])).recipes["openthoughts3"].stages())
    base = estimate(make_plan(default_config, read_catalog([ROOT / "catalog"])).recipes["openthoughts3"].stages())
    assert grown["answers"].gpu_hours == pytest.approx(2 * base["answers"].gpu_hours)
    assert grown["student"].gpu_hours == pytest.approx(2 * base["student"].gpu_hours)
    assert grown["labels"].usd == base["labels"].usd


def test_the_range_spans_the_public_figures(default: dict[str, Estimate]) -> None:
    answers, student = default["answers"], default["student"]
    assert answers.gpu_hours_low < 5_500 < answers.gpu_hours_high, "at 900 tokens per second"
    assert student.gpu_hours_low < 4_000 < student.gpu_hours_high
    labels = default["labels"]
    assert labels.usd_low < labels.usd < labels.usd_high


def test_a_budget_below_the_estimate_is_warned_about(default: dict[str, Estimate]) -> None:
    whole = total(default.values())
    assert budget_warnings(whole, {}) == []
    assert budget_warnings(whole, {"usd": whole.usd + 1, "gpu_hours": whole.asking_gpu_hours + 1}) == []
    dollars, hours = budget_warnings(whole, {"usd": 10, "gpu_hours": 20})
    assert "the budget is $10" in dollars
    assert "the budget is 20" in hours
    assert whole.asking_gpu_hours == pytest.approx(whole.gpu_hours - default["student"].gpu_hours)


def test_requests_take_the_time_that_an_account_allows(default_plan: Plan) -> None:
    hours = request_hours(default_plan.recipes["openthoughts3"].stages())
    assert hours["gpt-4.1-mini"] == pytest.approx((600_000 + 593_000) / 4_000 / 60, rel=0.01)


def test_what_has_run_makes_the_estimate_narrower(default_plan: Plan) -> None:
    stage = default_plan.recipes["openthoughts3"].domains["science"]["answers"]
    planned = estimate_stage(stage)
    assert forecast(stage, Spent(requests=5)) == planned, "too few to measure"
    took = Spent(requests=1_000, input_tokens=100_000, output_tokens=9_000_000, gpu_hours=2.0)
    took.squared_tokens = 1_000 * (9_000**2 + 3_000**2)
    told = forecast(stage, took)
    assert told.output_tokens == pytest.approx(100_000 * 9_000)
    assert told.gpu_hours == pytest.approx(200)
    assert told.gpu_hours_high / told.gpu_hours == pytest.approx(1 + 2 * (3_000 / 9_000) / 1_000**0.5)
    assert told.gpu_hours_low < told.gpu_hours < told.gpu_hours_high


@pytest.mark.parametrize(
    ("path", "value", "kind", "requests"),
    [
        ("filter", {"by": "llm_verification", "model": "gpt-4o-mini"}, "assessed", 1_200_000),
        ("filter", {"by": "fasttext", "keep": 10, "examples": {"positives": ["a"], "negatives": ["b"]}}, "assessed", 0),
    ],
)
def test_judging_every_answer_costs_a_request_each_unless_a_classifier_does_it(
    default_config: dict[str, Any], path: str, value: dict[str, Any], kind: str, requests: int
) -> None:
    catalog = read_catalog([ROOT / "catalog"])
    names = list(catalog.sources)[:2]
    if "examples" in value:
        value = {**value, "examples": {"positives": names[:1], "negatives": names[1:]}}
    config = with_setting(default_config, f"recipes.openthoughts3.{path}", value)
    found = estimate(make_plan(config, catalog).recipes["openthoughts3"].stages())
    assert found[kind].requests == requests
    assert (found[kind].usd > 0) == bool(requests)
    if "keep" in value:
        assert found["student"].gpu_hours < 1, "only what is kept is trained on"


@pytest.mark.parametrize(
    ("model", "usd"), [("text-embedding-3-small", pytest.approx(600_000 * 150 * 0.02e-6, rel=0.05)), ("minilm-l6", 0)]
)
def test_embeddings_cost_their_texts(default_config: dict[str, Any], model: str, usd: float) -> None:
    catalog = read_catalog([ROOT / "catalog"])
    examples = {"positives": ["numina-math"], "negatives": ["lap1official-math"]}
    select = {"by": "embeddings", "model": model, "keep": 0.25, "examples": examples}
    config = with_setting(default_config, "recipes.openthoughts3.domains.math.select", select)
    plan = make_plan(config, catalog).recipes["openthoughts3"]
    (labels,) = [stage for stage in plan.stages() if stage.settings.get("method") == "embeddings"]
    found = estimate_stage(labels)
    assert found.usd == usd
    assert found.requests == 600_000, "one of each different question"
    selected = plan.domains["math"]["mixed"].input("questions")
    assert expected_questions(selected) == 150_000
    assert expected_rows(selected) == pytest.approx(0.25 * 11_402_286, abs=1)
