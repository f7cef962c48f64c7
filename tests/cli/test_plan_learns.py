"""The plan learns from what ran, and what it says of arms that share is what the store then buys."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.asking_helpers import servers, write_model, write_questions
from tests.fake_openai import FakeServer, Fault

import plan as plan_program
import sample_answers
from openthoughts.costs.measured import Measured
from openthoughts.costs.remaining import ends, left_of
from openthoughts.models.model import Model
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.shards import asked_shards
from openthoughts.plan.stages import Plan, Stage
from openthoughts.store.gpu_hours import GpuMeter, used_by_all
from openthoughts.store.rows import FORGOTTEN
from openthoughts.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = {"math": 24, "code": 9, "science": 6}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A configuration whose two arms differ in the number of answers to each of a few questions."""
    domains = {domain: {"draw": count} for domain, count in QUESTIONS.items()}
    changes = {
        "targets": ["samples"],
        "gpu": "h100",
        "results": str(tmp_path / "results"),
        "store": str(tmp_path / "store"),
        "catalog": [str(ROOT / "catalog")],
        "recipes": {"openthoughts3": {"domains": domains, "answers": {"shards": 2}}},
        "experiments": {"samples": {"base": "openthoughts3", "vary": {"answers.samples": [1, 4]}}},
    }
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(changes))
    return path


def plan_of(own: Path) -> Plan:
    return make_plan(read_config([ROOT / "config.yaml", own]), read_catalog([ROOT / "catalog"]))


def told(own: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert plan_program.main(["--config", str(ROOT / "config.yaml"), str(own)]) == 0
    return capsys.readouterr().out


def row(printed: str, after: str, first: str) -> list[str]:
    """The cells of a row of the first table after a heading."""
    lines = printed[printed.index(after) :].splitlines()
    return next(re.split(r"  +", line.strip()) for line in lines if line.startswith(f"{first} "))


def with_inputs(plan: Plan, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """Write the drawn questions and the teacher of every stage of answers, which a server plays."""
    stages = [stage for stage in plan.index.values() if stage.kind == "answers"]
    for stage in stages:
        domain = stage.id.rpartition("-")[0]
        texts = [f"{domain} question {number}?" for number in range(QUESTIONS[domain])]
        write_questions(Path(plan.path(stage.input("questions"))), texts)
    path = Path(plan.path(stages[0].input("model")))
    write_model(path.parent, name="qwq-32b")
    monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(path, server))
    assert Model.read(path).name == "qwq-32b"
    return stages


def answer(plan: Plan, stages: list[Stage], store: Path) -> None:
    for shard in asked_shards(plan):
        if shard.stage in stages:
            how = ["--store", str(store), "--accelerator", "cpu", "--concurrency", "16"]
            assert sample_answers.main([*shard.arguments, *how]) == 0


def test_arms_of_more_samples_plan_what_the_store_then_buys(
    own: Path, tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(own)
    asked = 4 * sum(QUESTIONS.values())
    before = told(own, capsys)
    assert int(row(before, "\neverything", "answers")[2].replace(",", "")) == asked
    whole = int(row(before, "\neverything", "total")[2].replace(",", ""))
    arms = [int(row(before, "\nexperiment samples", arm)[4].replace(",", "")) for arm in ("1", "4")]
    assert sum(arms) == whole, "what the arms add is all there is"
    assert "left: " not in before, "nothing has run"

    stages = with_inputs(plan, server, monkeypatch)
    answer(plan, stages, tmp_path / "store")
    assert sum(server.asked.values()) == asked
    after = told(own, capsys)
    (left,) = re.findall(r"left: ([\d,]+)", after)
    assert int(left.replace(",", "")) == whole - asked
    assert f"{asked + asked // 4:,} of {asked + asked // 4:,}" in after


def test_what_ran_changes_the_plan_of_an_arm_that_did_not(
    own: Path, tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(own)
    before = told(own, capsys)
    assert "qwq-32b: 14,800 tokens per answer (catalog)" in before
    server.faults.append(Fault(body=_answer(500)))
    stages = with_inputs(plan, server, monkeypatch)
    few = [stage for stage in stages if stage.settings["samples"] == 1]
    answer(plan, few, tmp_path / "store")
    printed = told(own, capsys)
    assert "qwq-32b: 500 tokens per answer (measured on 6 shards), " in printed
    tokens = int(row(printed, "\neverything", "answers")[4].replace(",", ""))
    assert tokens == 500 * 4 * sum(QUESTIONS.values())
    before_hours, hours = (float(row(each, "\neverything", "student")[7]) for each in (before, printed))
    assert hours < before_hours / 5, "trainings are as long as the answers"


def _answer(tokens: int) -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "<think>x</think>y"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens}
    return {"object": "chat.completion", "id": "1", "model": "m", "choices": [choice], "usage": usage}


def test_a_run_in_progress_is_told_with_its_end(
    own: Path, tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(own)
    stages = with_inputs(plan, server, monkeypatch)
    few = [stage for stage in stages if stage.settings["samples"] == 1]
    answer(plan, few, tmp_path / "store")
    assert "are there by" not in told(own, capsys), "the clients have ended"
    with Store(tmp_path / "store") as store:
        answers_come(store, "qwq-32b", 39)
        now = datetime.now(UTC)
        found = SENTENCE.search(told(own, capsys))
    assert found
    assert found[1] == "39 answers in the last 1 minute"
    assert int(found[2]) == 3 * 39, "what both arms want is there for both"
    assert abs(end_of(found) - now - timedelta(minutes=3)) < timedelta(minutes=2)
    assert "are there by" not in told(own, capsys), "its client has ended"


def test_the_end_of_what_is_asked_in_batches_is_not_told(own: Path, tmp_path: Path) -> None:
    config, catalog = read_config([ROOT / "config.yaml", own]), read_catalog([ROOT / "catalog"])
    with Store(tmp_path / "store") as store:
        answers_come(store, "gpt-4o-mini", 40)
        for mode, names in (("live", ["gpt-4o-mini"]), ("batch", [])):
            entry = {**catalog.models["gpt-4o-mini"], "serving": {"mode": mode}}
            plan = make_plan(config, replace(catalog, models={**catalog.models, "gpt-4o-mini": entry}))
            left = left_of(plan, plan.index.values(), {}, Measured())
            assert left.requests["gpt-4o-mini"] > 0
            assert [end.model for end in ends(left, tmp_path / "store")] == names


def answers_come(store: Store, model: str, count: int) -> None:
    """So many answers of a model now, and beside them failures, and answers that were forgotten."""
    for number in range(2 * count):
        for kind, error in (("answer", None), ("refused", "refused"), (f"{FORGOTTEN}2", None)):
            if kind != "answer" or number < count:
                row = {"key": f"{kind}-{number}", "model_id": model, "model": model, "question_id": f"{number:032x}"}
                row |= {"text": "x", "error": error, "answered_at": time.time_ns() // 1000}
                store.append(row)
    store.fold()


def test_engines_that_have_nothing_in_the_store_yet_say_when_a_run_ends(
    own: Path, tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_inputs(plan_of(own), server, monkeypatch)
    assert "are there by" not in told(own, capsys)
    with Store(tmp_path / "store") as store:
        meter = GpuMeter(store, "qwq-32b", grace=20.0)
        with meter.running(4):
            meter.asking()
            began = time.monotonic()
            time.sleep(0.5)
            meter.answered(20, 500)
            took = time.monotonic() - began
            while not used_by_all(store.folder)[0].output_tokens:
                time.sleep(0.1)
            now = datetime.now(UTC)
            found = SENTENCE.search(told(own, capsys))
        assert found
        assert found[1].startswith("1 engine at ")
        assert int(found[2]) == 4 * 39
        assert abs(end_of(found) - now - timedelta(seconds=4 * 39 * 14_800 * took / 500)) < timedelta(minutes=5)
        assert "are there by" not in told(own, capsys), "the engine has ended"


SENTENCE = re.compile(r"qwq-32b: (.*); at that speed the (\d+) left are there by (.*) UTC")


def end_of(found: re.Match[str]) -> datetime:
    return datetime.strptime(found[3], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
