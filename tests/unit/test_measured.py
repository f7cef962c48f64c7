"""What has run is measured, and says what to expect of what has not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.answer_tables import completion

from openthoughts.base.tables import COMPLETIONS, EVALUATION_COMPLETIONS, write_table
from openthoughts.costs.basis import basis
from openthoughts.costs.estimates import Estimate, estimate, estimate_stage
from openthoughts.costs.measuring import measure
from openthoughts.inference.sampling import Sampling
from openthoughts.models.model import Model
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_yaml, with_setting
from openthoughts.plan.plan_file import content_path, plan_text, write_once
from openthoughts.plan.planner import make_plan
from openthoughts.plan.shards import shard_path
from openthoughts.plan.stages import Plan, Stage
from openthoughts.store.keys import model_partition
from openthoughts.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
Plans = tuple[dict[str, Any], Plan]


def planned(tmp_path: Path, **settings: Any) -> Plans:
    config = {**read_yaml(ROOT / "config.yaml"), "gpu": "h100", "results": str(tmp_path / "results")}
    for path, value in settings.items():
        config = with_setting(config, "recipes.openthoughts3." + path.replace("__", "."), value)
    return config, make_plan(config, read_catalog([ROOT / "catalog"]))


def answers_of(plan: Plan, domain: str) -> Stage:
    return plan.recipes["openthoughts3"].domains[domain]["answers"]


def student_of(plan: Plan) -> Stage:
    """The evaluation of the student."""
    return plan.recipes["openthoughts3"].evaluations["student"]


def write_shard(plan: Plan, stage: Stage, shard: int, tokens: int, answers: int = 20, finish: str = "stop") -> None:
    """A shard whose answers have 10 tokens fewer and 10 more than ``tokens``, in turn."""
    rows = [completion(f"Question {shard} {number}?", 0, "x", finish) for number in range(answers)]
    rows = [{**row, "completion_tokens": tokens + (10 if place % 2 else -10)} for place, row in enumerate(rows)]
    failed = {**completion(f"Question {shard} that failed?", 0, None), "completion_tokens": 10**9}
    table = pl.DataFrame([*rows, failed], dict(COMPLETIONS)).sort("question_id")
    write_table(table, shard_path(plan, stage, shard), COMPLETIONS)


def with_model(plan: Plan, stage: Stage) -> Model:
    """Write the ``model.json`` of the model that a stage asks, unless it is there; each stage's is another model."""
    path = Path(plan.path(stage.input("model")))
    if not path.is_file():
        name = stage.input("model").settings.get("name", stage.input("model").id)
        Model(name, f"test/{stage.input('model').id}@1", path="w", digest="0" * 64, chat_template="0" * 64).write(path)
    return Model.read(path)


def write_use(plan: Plan, stage: Stage, store: Path, **noted: Any) -> None:
    """What the engine of a client that answered to a stage has noted, and one of its answers in the store."""
    model = with_model(plan, stage)
    with Store(store) as mine:
        mine.append(stored(model, len(list(store.glob("gpu-hours/*"))), 5))
        path = store / "gpu-hours" / f"{mine.writer}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    use = {"model": model.name, "hours": 9.0, "reserved": 0.0, "gpu": "NVIDIA H100 80GB HBM3", "gpus": 4, **noted}
    path.write_text(json.dumps(use))


def stored(model: Model, number: int, tokens: int | None, **other: Any) -> dict[str, Any]:
    """A row of the store."""
    row = {
        "key": f"{number:032x}",
        "model_id": model_partition(model.key()),
        "text": "x",
        "model": model.name,
        "question_id": f"{number:032x}",
        "sample": 0,
        "seed": 0,
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": tokens,
        "answered_at": number,
    }
    return {**row, **other}


def test_lengths_of_one_domain_are_taken_for_all_until_each_has_its_own(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    math, code = answers_of(plan, "math"), answers_of(plan, "code")
    before = estimate_stage(code)
    write_shard(plan, math, 0, 4_000)
    assert measure(plan, tmp_path / "store", "h100").length(code) is None, "20 answers are too few"
    write_shard(plan, math, 1, 4_000)
    measured = measure(plan, tmp_path / "store", "h100")
    found = measured.length(code)
    assert found and found.output_tokens == 4_000, "what failed is no answer"
    assert found.rests_on == "measured on 2 shards"
    after = estimate_stage(code, measured)
    assert after.requests == before.requests
    assert after.output_tokens == pytest.approx(4_000 * after.requests)
    assert after.input_tokens == pytest.approx(5 * after.requests)
    assert after.gpu_hours < before.gpu_hours
    for shard in (3, 4):
        write_shard(plan, code, shard, 1_000)
    measured = measure(plan, tmp_path / "store", "h100")
    means = [figure.output_tokens for stage in (math, code) if (figure := measured.length(stage))]
    assert means == [4_000, 1_000]


def test_trainings_are_as_long_as_the_answers_that_were_measured(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    stages = plan.recipes["openthoughts3"].stages()
    before = estimate(stages)
    for shard in (0, 1):
        write_shard(plan, answers_of(plan, "science"), shard, 7_400)
    after = estimate(stages, measure(plan, tmp_path / "store", "h100"))
    assert after["student"].gpu_hours == pytest.approx(before["student"].gpu_hours / 2, rel=0.03)
    assert after["tokenized"].disk_gb == pytest.approx(before["tokenized"].disk_gb / 2, rel=0.03)
    assert after["evaluation"] == before["evaluation"], "another model"


def test_what_a_lower_token_limit_cut_says_nothing_of_a_higher_one(tmp_path: Path) -> None:
    _, short = planned(tmp_path, answers__sampling__max_tokens=1_000)
    config, plan = planned(tmp_path)
    math = answers_of(short, "math")
    for shard in (0, 1):
        write_shard(short, math, shard, 900, finish="length")
    write_once(content_path(tmp_path / "results/plans", "short", ".json"), plan_text(config, short))
    assert measure(plan, tmp_path / "store", None).length(answers_of(plan, "math")) is None
    for shard in (0, 1):
        write_shard(short, math, shard, 900)
    found = measure(plan, tmp_path / "store", None).length(answers_of(plan, "math"))
    assert found and found.output_tokens == 900, "an earlier configuration's answers that ended by themselves"
    assert found.of_its_kind


def test_a_folder_that_no_plan_describes_is_not_measured(tmp_path: Path) -> None:
    _, other = planned(tmp_path, answers__seed=7)
    _, plan = planned(tmp_path)
    for shard in (0, 1):
        write_shard(other, answers_of(other, "math"), shard, 900)
    assert measure(plan, tmp_path / "store", None).lengths == {}


def test_a_table_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    path = Path(shard_path(plan, answers_of(plan, "math"), 0))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and no more")
    assert measure(plan, tmp_path / "store", None).notes == [
        "not measured, as it could not be read: 1 table of answers."
    ]


@pytest.mark.parametrize(
    ("noted", "speed"),
    [
        ({}, 500.0),
        ({"gpu": "NVIDIA H100 PCIe"}, None),
        ({"gpu": ""}, None),
        ({"gpus": 1}, None),
        ({"about": "difficulty"}, None),
        ({"answers": 1_023}, None),
        ({"output_tokens": 0}, None),
        ({"noted_by_a_later_version": 1}, 500.0),
    ],
)
def test_a_speed_counts_for_the_same_model_gpus_and_use(
    tmp_path: Path, noted: dict[str, Any], speed: float | None
) -> None:
    _, plan = planned(tmp_path, answers__sampling__max_tokens=16_800)
    math = answers_of(plan, "math")
    given = {"answers": 1_024, "output_tokens": 40_000, "seconds": 80.0, **noted}
    for _ in range(2):
        write_use(plan, math, tmp_path / "store", **given)
    measured = measure(plan, tmp_path / "store", "h100")
    found = measured.speed(math)
    assert (found.tokens_per_second if found else None) == speed
    if speed is not None:
        told = estimate_stage(math, measured)
        assert told.gpu_hours == pytest.approx(4 * told.output_tokens / 500 / 3600), "an engine has four"
        without = measure(plan, tmp_path / "store", None)
        assert without.speed(math) is None
        assert without.notes == ["not used, as the configuration names no `gpu`: speeds on NVIDIA H100 80GB HBM3."]
    if noted.get("gpu") == "NVIDIA H100 PCIe":
        assert measured.notes == ["not used, as the plan is for h100: speeds on NVIDIA H100 PCIe."]


def test_the_range_is_narrow_only_where_length_and_speed_are_of_the_kind(tmp_path: Path) -> None:
    def spread(found: Estimate) -> float:
        return found.gpu_hours_high / found.gpu_hours

    _, plan = planned(tmp_path)
    math, code = answers_of(plan, "math"), answers_of(plan, "code")
    for shard in (0, 1):
        write_shard(plan, math, shard, 4_000)
    assert spread(estimate_stage(math, measure(plan, tmp_path / "store", "h100"))) == pytest.approx(2.0)
    write_use(plan, math, tmp_path / "store", answers=2_000, output_tokens=8_000_000, seconds=2_000.0)
    measured = measure(plan, tmp_path / "store", "h100")
    assert spread(estimate_stage(math, measured)) == pytest.approx(1.1 + 2 * 10 / 4_000 / 40**0.5)
    assert spread(estimate_stage(code, measured)) == pytest.approx(2.0), "measured on math"
    write_use(plan, math, tmp_path / "store", answers=2_000, output_tokens=20_000_000, seconds=5_000.0)
    measured = measure(plan, tmp_path / "store", "h100")
    assert spread(estimate_stage(math, measured)) == pytest.approx(2.0), "the speed is of answers of 7,000 tokens"


def test_each_figure_is_told_with_what_it_rests_on(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    stages = plan.recipes["openthoughts3"].stages()
    lines = basis(stages, measure(plan, tmp_path / "store", "h100"), "h100")
    assert any(
        line.startswith("qwq-32b: 14,800 tokens per answer (catalog), ") and line.endswith("(from its architecture)")
        for line in lines
    )
    assert any(line.startswith("gpt-4o-mini, labels by difficulty: ") for line in lines)
    for shard in (0, 1):
        write_shard(plan, answers_of(plan, "math"), shard, 4_000)
    write_use(plan, answers_of(plan, "math"), tmp_path / "store", answers=2_000, output_tokens=160_000, seconds=40.0)
    lines = basis(stages, measure(plan, tmp_path / "store", "h100"), "h100")
    speed = "4,000 tokens/s per engine of 4 h100 (measured on 1 shard)"
    measured = f"4,000 tokens per answer (measured on 2 shards), {speed}"
    assert f"qwq-32b, math: {measured}" in lines
    assert f"qwq-32b: {measured}" in lines


def test_the_store_says_lengths_where_no_shard_is_finished(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    math = answers_of(plan, "math")
    model = with_model(plan, math)
    sampling = Sampling.model_validate(math.settings["sampling"]).key()
    with Store(tmp_path / "store") as store:
        for number in range(40):
            for length, schema in ((3_000, None), (50, "difficulty")):
                about = {"messages": f"{number:064x}", "response_schema": schema, "sampling": sampling}
                request = json.dumps(about, sort_keys=True, separators=(",", ":"))
                store.append(stored(model, number, length, key=f"{number:030x}{length:x}", request=request))
            store.append(stored(model, number, 9, key=f"{number:030x}ff"))
    found = measure(plan, tmp_path / "store", "h100").length(math)
    assert found and (found.input_tokens, found.output_tokens) == (7, 3_000)
    assert found.rests_on == "measured on 40 answers of the store"


def test_answers_whose_tokens_are_not_told_have_no_length(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    math = answers_of(plan, "math")
    for shard in (0, 1):
        write_shard(plan, math, shard, 4_000)
    rows = [completion(f"Question {number} of no usage?", 0, "x") for number in range(50)]
    untold = [{**row, "prompt_tokens": None, "completion_tokens": None} for row in rows]
    table = pl.DataFrame(untold, dict(COMPLETIONS)).sort("question_id")
    write_table(table, shard_path(plan, math, 2), COMPLETIONS)
    measured = measure(plan, tmp_path / "store", "h100")
    found = measured.length(math)
    assert found and found.output_tokens == 4_000
    assert found.rests_on == "measured on 2 shards"
    assert measured.notes == ["not measured, as the server did not tell their tokens: 50 answers."]


def test_under_a_lower_token_limit_each_longer_answer_counts_as_the_limit(tmp_path: Path) -> None:
    config, long = planned(tmp_path)
    _, plan = planned(tmp_path, answers__sampling__max_tokens=1_000)
    for shard, tokens in enumerate((500, 5_000)):
        write_shard(long, answers_of(long, "math"), shard, tokens)
    write_once(content_path(tmp_path / "results/plans", "long", ".json"), plan_text(config, long))
    found = measure(plan, tmp_path / "store", None).length(answers_of(plan, "math"))
    assert found and found.output_tokens == 750, "the mean of all lengths, 2,750, is over the limit"


def test_an_evaluation_is_not_as_long_as_one_of_other_benchmarks(tmp_path: Path) -> None:
    config, one = planned(tmp_path, evaluation__benchmarks=["aime24"])
    _, plan = planned(tmp_path, evaluation__benchmarks=["math500"])
    asked, other = student_of(one), student_of(plan)
    rows = [completion(f"Question {number}?", 0, "x") for number in range(40)]
    rows = [{**row, "completion_tokens": 9_000, "benchmark": "aime24"} for row in rows]
    table = pl.DataFrame(rows, dict(EVALUATION_COMPLETIONS)).sort("question_id")
    write_table(table, one.path(asked, "completions.parquet"), EVALUATION_COMPLETIONS)
    write_once(content_path(tmp_path / "results/plans", "one", ".json"), plan_text(config, one))
    for of, its_own in ((one, True), (plan, False)):
        found = measure(of, tmp_path / "store", None).length(student_of(of))
        assert found and found.output_tokens == 9_000
        assert found.of_its_kind is its_own
    assert asked.id != other.id


def test_a_model_in_another_number_format_has_a_speed_of_its_own(tmp_path: Path) -> None:
    config, plan = planned(tmp_path)
    math = answers_of(plan, "math")
    write_shard(plan, math, 0, 4_000)
    write_once(content_path(tmp_path / "results/plans", "one", ".json"), plan_text(config, plan))
    write_use(plan, math, tmp_path / "store", answers=2_000, output_tokens=400_000, seconds=100.0)
    catalog = read_catalog([ROOT / "catalog"])
    entry = {**catalog.models["qwq-32b"], "dtype": "float16"}
    half = make_plan(config, replace(catalog, models={**catalog.models, "qwq-32b": entry}))
    assert measure(half, tmp_path / "store", "h100").speed(answers_of(half, "math")) is None
    write_use(half, answers_of(half, "math"), tmp_path / "store", answers=2_000, output_tokens=800_000, seconds=100.0)
    for of, speed in ((plan, 4_000), (half, 8_000)):
        found = measure(of, tmp_path / "store", "h100").speed(answers_of(of, "math"))
        assert found and found.tokens_per_second == speed


def test_engines_count_from_a_multiple_of_the_requests_in_flight(tmp_path: Path) -> None:
    config, _ = planned(tmp_path)
    catalog = read_catalog([ROOT / "catalog"])
    entry = {**catalog.models["qwq-32b"], "serving": {"concurrency": 100, "tensor_parallel": 4}}
    plan = make_plan(config, replace(catalog, models={**catalog.models, "qwq-32b": entry}))
    math = answers_of(plan, "math")
    for _ in range(3):
        write_use(plan, math, tmp_path / "store", answers=399, output_tokens=400_000, seconds=100.0)
    assert measure(plan, tmp_path / "store", "h100").speed(math) is None, "none was at full load for long"
    write_use(plan, math, tmp_path / "store", answers=400, output_tokens=800_000, seconds=100.0)
    found = measure(plan, tmp_path / "store", "h100").speed(math)
    assert found and (found.tokens_per_second, found.parts) == (8_000, 1)


def test_a_student_is_as_fast_as_others_of_its_base(tmp_path: Path) -> None:
    _, plan = planned(tmp_path)
    config, other = planned(tmp_path, training__seed=7)
    asked, stage = student_of(other), student_of(plan)
    assert asked.input("model").id != stage.input("model").id
    write_once(content_path(tmp_path / "results/plans", "other", ".json"), plan_text(config, other))
    Path(other.path(asked)).parent.mkdir(parents=True)
    write_use(other, asked, tmp_path / "store", gpus=4, answers=2_048, output_tokens=400_000, seconds=100.0)
    found = measure(plan, tmp_path / "store", "h100").speed(stage)
    assert found and found.tokens_per_second == 4_000


def test_the_store_says_lengths_of_any_student_of_a_base(tmp_path: Path) -> None:
    config, _ = planned(tmp_path)
    config = {**config, "targets": ["seeds"]}
    config = with_setting(config, "experiments.seeds.base", "openthoughts3")
    config = with_setting(config, "experiments.seeds.vary", {"training.seed": [7, 8, 9]})
    plan = make_plan(config, read_catalog([ROOT / "catalog"]))
    evaluations = [s for s in plan.index.values() if s.kind == "evaluation" and "model" in s.input("model").inputs]
    assert len(evaluations) >= 3
    last = evaluations[-1]
    model, about = with_model(plan, last), {"sampling": Sampling.model_validate(last.settings["sampling"]).key()}
    with Store(tmp_path / "store") as store:
        for number in range(40):
            store.append(stored(model, number, 2_000, request=json.dumps(about)))
    measured = measure(plan, tmp_path / "store", "h100")
    for stage in evaluations:
        found = measured.length(stage)
        assert found and found.rests_on == "measured on 40 answers of the store", "one student is trained"
