"""How fast, on how many GPUs and at what cost a model of the catalog is served, and what is told where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openthoughts.costs.estimates import Estimate, estimate, total
from openthoughts.costs.fitting import memory_warnings
from openthoughts.plan.catalog import Catalog, read_catalog
from openthoughts.plan.config import ConfigurationError, merged, prepared, read_yaml, typed, with_setting
from openthoughts.plan.planner import make_plan
from openthoughts.plan.speeds import CONCURRENCY, answer_seconds, engine_seconds, tensor_parallel
from openthoughts.plan.stages import Plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog([ROOT / "catalog"])


def entry(catalog: Catalog, gpu: str = "h100", **serving: Any) -> dict[str, Any]:
    """The entry of QwQ-32B on a GPU, served otherwise."""
    known = catalog.models["qwq-32b"]
    return {**known, "gpu": catalog.gpus[gpu], "serving": {"tokens_per_answer": 14_800, **serving}}


def planned(catalog: Catalog, change: dict[str, Any], gpu: str | None = "h100", **settings: Any) -> Plan:
    """The default plan, the entry of its teacher changed."""
    models = {**catalog.models, "qwq-32b": merged(catalog.models["qwq-32b"], change)}
    return make_plan({**read_yaml(ROOT / "config.yaml"), "gpu": gpu, **settings}, replace(catalog, models=models))


def answers(plan: Plan) -> Estimate:
    return estimate(plan.recipes["openthoughts3"].stages())["answers"]


def test_an_entry_without_concurrency_is_planned_as_the_rule_asks(catalog: Catalog) -> None:
    at_most = engine_seconds(entry(catalog, tensor_parallel=4, concurrency=CONCURRENCY), 150, 14_800)
    assert engine_seconds(entry(catalog, tensor_parallel=4), 150, 14_800) == at_most
    assert 'serving(kind, "concurrency", CONCURRENCY)' in (ROOT / "rules/common/resources.smk").read_text()


@pytest.mark.parametrize(("gpu", "gpus"), [("a100-40", 1), ("rtx-4090", 2)])
def test_weights_that_do_not_fit_are_told_and_have_no_speed(catalog: Catalog, gpu: str, gpus: int) -> None:
    assert answer_seconds(entry(catalog, gpu, tensor_parallel=gpus)) is None
    plan = planned(catalog, {"serving": {"tensor_parallel": gpus}}, gpu)
    told = [line for line in memory_warnings(plan.index.values()) if line.startswith("the weights of qwq-32b (61 GiB)")]
    assert len(told) == 1
    assert answers(plan).unknown["gpu_hours"] == {"speed of qwq-32b, whose weights do not fit,"}


def test_heads_that_cannot_be_shared_are_told(catalog: Catalog) -> None:
    plan = planned(catalog, {"serving": {"tensor_parallel": 3}})
    assert "qwq-32b has 40 heads of attention, which 3 GPUs cannot share evenly: fix tensor_parallel." in list(
        memory_warnings(plan.index.values())
    )


def test_a_chosen_number_of_gpus_divides_the_heads(catalog: Catalog) -> None:
    large = {**entry(catalog), "parameters": 400e9}
    assert tensor_parallel(large) == 8, "of 1, 2, 4 and 8, as 40 heads are not shared by 16"
    assert tensor_parallel(entry(catalog)) == 2


def test_quantisation_among_the_engine_arguments_is_planned(catalog: Catalog) -> None:
    given = entry(catalog, tensor_parallel=4, concurrency=256, engine_args="--quantization fp8 --kv-cache-dtype fp8")
    whole = entry(catalog, tensor_parallel=4, concurrency=256)
    keyed = {**whole, "quantization": "fp8"}
    seconds = [engine_seconds(each, 150, 14_800) or 0.0 for each in (given, keyed, whole)]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == 3


def test_replicas_share_embeddings(catalog: Catalog) -> None:
    embedder = {"kind": "hub", "parameters": 22.7e6, "gpu": catalog.gpus["h100"]}
    four = {**embedder, "serving": {"data_parallel": 4}}
    assert 4 * (engine_seconds(four, 150, 0) or 0.0) == pytest.approx(engine_seconds(embedder, 150, 0))


def test_without_a_gpu_no_gpu_hours_are_told(catalog: Catalog) -> None:
    found = answers(planned(catalog, {"serving": {"tokens_per_second": 8000}}, None))
    assert (found.gpu_hours, found.unknown["gpu_hours"]) == (0.0, {"GPU"})


def test_a_processor_takes_no_gpu_hours(catalog: Catalog) -> None:
    plan = planned(catalog, {}, None, accelerator="cpu")
    whole = total(estimate(plan.recipes["openthoughts3"].stages()).values())
    assert whole.gpu_hours == 0
    assert "gpu_hours" not in whole.unknown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"serving": {"tokens_per_second": -5}}, "tokens_per_second: -5 is less than or equal to the minimum of 0"),
        ({"serving": {"tokens_per_answer": 0}}, "tokens_per_answer: 0 is less than or equal to the minimum of 0"),
        ({"parameters": -1}, "parameters: -1 is less than or equal to the minimum of 0"),
        ({"architecture": {"num_attention_heads": 0}}, "num_attention_heads: 0 is less than or equal to the minimum"),
        ({"serving": {"engine_args": "--x 'y"}}, "cannot be split into words: no closing quotation"),
    ],
)
def test_numbers_and_arguments_that_cannot_be_are_refused(
    catalog: Catalog, change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    import yaml

    own = merged(catalog.models["qwq-32b"], change)
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"own": own}))
    with pytest.raises(ConfigurationError) as caught:
        read_catalog([ROOT / "catalog", tmp_path])
    assert len(caught.value.problems) == 1
    assert sentence in caught.value.problems[0]


def test_infinitely_many_questions_cannot_be_kept(catalog: Catalog) -> None:
    path = "recipes.openthoughts3.domains.math.select.keep"
    with pytest.raises(ConfigurationError) as caught:
        make_plan(with_setting(read_yaml(ROOT / "config.yaml"), path, float("inf")), catalog)
    assert caught.value.problems[0].startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["size", "sizes", "include", "set"])
def test_what_is_read_before_set_cannot_be_set_by_it(name: str) -> None:
    with pytest.raises(Exception, match=f"set: `{name}` is read before it"):
        prepared({"set": {name: "pilot"}, "sizes": {"pilot": {}}})


def test_only_plain_numbers_and_truths_of_the_command_line_are_no_texts() -> None:
    given = ["4", "-1.5", "+2", "1e-5", "true", "null", "12:30", "yes", "0123", "", "1_000", "0x10", "inf"]
    meant = [4, -1.5, 2, 1e-5, True, None, "12:30", "yes", "0123", "", "1_000", "0x10", "inf"]
    assert typed({"a": given}) == {"a": meant}
