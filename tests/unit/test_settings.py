"""The models of the configuration: every sampling setting, every mistake at once, and what is part of an id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from openthoughts.base.cli import UserError
from openthoughts.base.options import Options
from openthoughts.inference.sampling import EvaluationSampling, JudgeSampling, Sampling, WritingSampling
from openthoughts.plan.catalog import Catalog, read_catalog
from openthoughts.plan.config import ConfigurationError, merged, prepared, read_yaml, with_setting
from openthoughts.plan.planner import make_plan
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.settings.entries import Endpoint, Judge, Model, Questions, Serving
from openthoughts.plan.settings.recipe import Recipe, resolved_recipe
from openthoughts.plan.stages import Plan
from openthoughts.plan.validation import validated

ROOT = Path(__file__).resolve().parents[2]

RECIPE = "recipes.openthoughts3"

FURTHER = {
    "top_k": 20,
    "min_p": 0.05,
    "presence_penalty": 1.5,
    "frequency_penalty": 0.5,
    "repetition_penalty": 1.1,
    "stop": ["\n\n"],
    "ignore_eos": True,
    "reasoning_effort": "low",
}
"""Sampling settings that are part of an id where they are not at their default."""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog([ROOT / "catalog"])


def changed(text: str) -> dict[str, Any]:
    """The default configuration with another laid over it, both as YAML."""
    return merged(read_yaml(ROOT / "config.yaml"), yaml.safe_load(text))


def planned(catalog: Catalog, path: str, value: Any) -> Plan:
    return make_plan(with_setting(read_yaml(ROOT / "config.yaml"), path, value), catalog)


def mistakes(catalog: Catalog, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        make_plan(changed(text), catalog)
    return caught.value.problems


@pytest.mark.parametrize("name", FURTHER)
@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (f"{RECIPE}.answers.sampling", "answers"),
        (f"{RECIPE}.domains.math.select.sampling", "labels"),
        (f"{RECIPE}.evaluation.sampling", "evaluation"),
    ],
)
def test_every_sampling_setting_can_be_set_and_makes_another_result(
    catalog: Catalog, block: str, kind: str, name: str
) -> None:
    plan = planned(catalog, f"{block}.{name}", FURTHER[name])
    assert FURTHER[name] in [
        stage.settings["sampling"].get(name)
        for stage in plan.index.values()
        if stage.kind == kind and "sampling" in stage.settings
    ]


@pytest.mark.parametrize("model", [Sampling, EvaluationSampling, JudgeSampling, WritingSampling])
def test_a_setting_at_its_default_or_null_is_in_no_id(model: type[Sampling]) -> None:
    plain = model().identity()
    assert set(plain) == {"temperature", "top_p", "max_tokens"}
    defaults = {name: getattr(model(), name) for name in FURTHER}
    assert model(**defaults).identity() == plain
    assert model.model_validate(dict.fromkeys(FURTHER)).identity() == plain
    assert model.model_validate(FURTHER).identity() == {**plain, **FURTHER}
    assert (
        Sampling.parse('{"temperature": 1, "max_tokens": 16800, "top_k": null, "top_p": null}').key()
        == Sampling(top_p=1.0).key()
    )


@pytest.mark.parametrize(("name", "value"), [("top_p", 0.9), ("top_k", 20), ("max_tokens", 99)])
def test_null_in_a_domain_is_the_default_whatever_the_recipe_says(name: str, value: Any) -> None:
    own = {"domains": {"math": {"answers": {"sampling": {name: None}}}}, "answers": {"sampling": {name: value}}}
    whole = merged(read_yaml(ROOT / "config.yaml")["recipes"]["openthoughts3"], own)
    domains = Recipe.model_validate(whole).resolved().domains
    assert domains["math"].answers.sampling == Sampling()
    assert getattr(domains["code"].answers.sampling, name) == value


def test_a_judge_and_a_filter_take_them_too() -> None:
    assert Judge(model="m", prompt="p", sampling=JudgeSampling(top_k=20)).sampling.identity()["top_k"] == 20
    recipe = {"filter": {"by": "llm_verification", "sampling": FURTHER}}
    whole = merged(read_yaml(ROOT / "config.yaml")["recipes"]["openthoughts3"], recipe)
    assert resolved_recipe(whole).domains["math"].filter.sampling.identity() | FURTHER == (
        Sampling().identity() | FURTHER
    )


def test_mistakes_of_form_and_of_names_are_told_together(catalog: Catalog) -> None:
    text = """
    targets: [opentoughts3]
    acelerator: cpu
    budget: {usd: "100"}
    recipes:
      openthoughts3:
        decontaminate: {similarity: 750, benchmarks: [aime24, aime2025]}
        answers: {teacher: qwq32b, samples: "16", sampling: {temprature: 1.0, max_tokens: 2e4}}
        domains:
          math: {sources: [openmath-2-math, openmath-2-math], draw: -5, dedup: {level: exact}}
          science: [stackexchange-physics]
        training: {scale: larg, gpus: eight}
    """
    found = mistakes(catalog, text)
    assert [line.removeprefix(f"{RECIPE}.") for line in found] == [
        "(top level): unknown key 'acelerator' (did you mean accelerator?)",
        "budget.usd: '100' should be of type number",
        "answers.samples: '16' should be of type integer",
        "answers.sampling.max_tokens: '2e4' should be of type integer (YAML reads 1e-5 as text: write 1.0e-5)",
        "answers.sampling: unknown key 'temprature' (did you mean temperature?)",
        "answers.teacher: the catalog has no model 'qwq32b' (did you mean qwq-32b?)",
        "decontaminate.benchmarks.1: the catalog has no benchmark 'aime2025' (did you mean aime25?)",
        "decontaminate.similarity: 750 is greater than the maximum of 100",
        "domains.math.draw: -5 is less than the minimum of 1",
        "domains.math.sources: 'openmath-2-math' is twice: leave one out",
        "domains.math: unknown key 'dedup' (did you mean deduplicate?)",
        "domains.science: ['stackexchange-physics'] should be of type mapping",
        "training.gpus: 'eight' should be of type integer",
        "training.scale: the catalog has no scale 'larg' (did you mean large?)",
        "targets: there is no recipe or experiment 'opentoughts3' (did you mean openthoughts3?)",
    ]


def test_mistakes_of_an_experiment_are_told_once_and_together(catalog: Catalog) -> None:
    text = """
    targets: [abl]
    experiments:
      abl:
        base: openthoughts3
        vary: {answers.sample: [1, 4], training.sclae: [large], filter: none}
        arms: {a: {answers.samples: 3}}
        compare_to: foo
        plot: line
    """
    assert [line.removeprefix("experiments.abl.") for line in mistakes(catalog, text)] == [
        "compare_to: there is no arm 'foo' (known: a-1-large, a-4-large)",
        "plot: 'line' is not one of the choices (known: bars, curve, matrix)",
        "vary.answers.sample: unknown key 'sample' (did you mean samples?)",
        "vary.filter: 'none' should be of type list",
        "vary.training.sclae: unknown key 'sclae' (did you mean scale?)",
    ]


def test_a_mistake_of_an_arm_is_told_where_the_experiment_has_it(catalog: Catalog) -> None:
    text = """
    recipes: {openthoughts3: {answers: {teacher: qwq32b}}}
    experiments:
      abl:
        base: openthoughts3
        set: {decontaminate.benchmarks: [aime26]}
        vary: {filter: [{by: none}, {by: langth}]}
        arms: {a: {training.scale: larg}, a-b: {training.student: qwen3, domains.math.draw: -1}}
    """
    told = [line.partition(" (")[0] for line in mistakes(catalog, text)]
    assert told == [
        "experiments.abl.arms.a-b.domains.math.draw: -1 is less than the minimum of 1",
        "experiments.abl.arms.a-b.training.student: the catalog has no model 'qwen3'",
        "experiments.abl.arms.a.training.scale: the catalog has no scale 'larg'",
        "experiments.abl.set.decontaminate.benchmarks.0: the catalog has no benchmark 'aime26'",
        "experiments.abl.vary.filter.by: 'langth' is not one of the choices",
        "recipes.openthoughts3.answers.teacher: the catalog has no model 'qwq32b'",
    ]


def blocks(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """The dotted path of every key of a recipe; ``domains`` stands for one of them."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            yield from blocks(field.annotation, f"{path}{name}.")


@pytest.mark.parametrize("value", [None, [1], {"x": [{}]}, "1e-5", -1.5, True], ids=str)
def test_nothing_that_a_key_may_be_given_ends_in_a_stack_trace(catalog: Catalog, value: Any) -> None:
    paths = [
        *(f"{RECIPE}.{path}" for path in blocks(Recipe)),
        *(f"{RECIPE}.domains.{name}" for name in ("math", "math.select", "math.select.by", "math.sources")),
        *(f"experiments.x.{name}" for name in ("base", "vary", "vary.filter", "arms", "arms.a", "set", "evaluation")),
        *(name for name in Configuration.model_fields if name not in {"include", "size", "sizes"}),
    ]
    config = changed("experiments: {x: {base: openthoughts3, vary: {answers.samples: [1]}}}")
    refused = 0
    for path in paths:
        try:
            validated(with_setting(config, path, value), catalog)
        except ConfigurationError as error:
            refused += 1
            assert all(": " in line for line in error.problems), error.problems
    assert refused > len(paths) / 2


@pytest.mark.parametrize("value", [None, [1], "x", 3], ids=str)
def test_nothing_that_an_arm_may_set_ends_in_a_stack_trace(catalog: Catalog, value: Any) -> None:
    for path in [*blocks(Recipe), "domains.math", "domains.math.select", "domains.math.select.by", "domains.new"]:
        config = changed("experiments: {x: {base: openthoughts3}}")
        config["experiments"]["x"]["vary"] = {path: [value]}
        try:
            validated(config, catalog)
        except ConfigurationError as error:
            assert all(line.startswith("experiments.x.") for line in error.problems), error.problems


def test_null_in_the_catalog_is_the_same_as_no_key(tmp_path: Path) -> None:
    model = {"kind": "hub", "repository": "a/b", "serving": {}, "endpoint": {"base_url": "x"}}
    nulls = {
        **dict.fromkeys(Model.model_fields.keys() - {"quantization"}),  # null of it has always been part of ids
        **model,
        "serving": dict.fromkeys(Serving.model_fields),
        "endpoint": {**dict.fromkeys(Endpoint.model_fields), "base_url": "x"},
    }
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"plain": model, "nulls": nulls}))
    question = {"connector": "hub", "dataset": "a/b", "column": "c", "domain": "math", "split": "test"}
    described = {**dict.fromkeys(Questions.execution_keys()), **question}
    (tmp_path / "benchmarks.yaml").write_text(yaml.safe_dump({"plain": question, "nulls": described}))
    found = read_catalog([tmp_path])
    assert found.models["nulls"] == found.models["plain"]
    assert found.benchmarks["nulls"] == found.benchmarks["plain"]


@pytest.mark.parametrize(
    "config", [{"size": "a", "sizes": {"a": [1]}}, {"size": "a", "sizes": {"a": {"questions": "x"}}}]
)
def test_a_mistaken_size_is_told(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^sizes\.a"):
        prepared(config)


def test_what_says_how_a_result_is_made_changes_no_id(catalog: Catalog) -> None:
    plain = set(make_plan(read_yaml(ROOT / "config.yaml"), catalog).index)
    for path, value in {
        f"{RECIPE}.answers.shards": 3,
        f"{RECIPE}.answers.answers_per_shard": 7,
        f"{RECIPE}.filter.answers_per_shard": 7,
        f"{RECIPE}.domains.math.select.questions_per_shard": 7,
        f"{RECIPE}.decontaminate.sensitivity": True,
        f"{RECIPE}.training.nodes": 4,
        f"{RECIPE}.training.gpus": 4,
        f"{RECIPE}.publish": {"private": False},
        "shard_hours": 2,
        "max_failed": 0.5,
        "budget": {"usd": 5},
        "accelerator": "cpu",
    }.items():
        assert set(planned(catalog, path, value).index) == plain, path
