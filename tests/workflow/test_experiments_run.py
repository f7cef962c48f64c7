"""Three shipped experiments run at their demo size, all of them for real but what models say: a scripted server.

Every stage runs, the students are trained (a tiny random model, two steps), and a server on loopback answers for
teachers and students. What a student answers is right with a chance that the test sets for its arm and domain, so that
it is known what the comparison must find. Sources and benchmarks are fewer than the demo's: the test is of the arms.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.fake_openai import API_KEY, FakeServer, default_answer
from tests.tiny_model import make_tiny_model
from tests.workflow.conftest import Checkout

from openthoughts.base.tables import QUESTIONS, read_table
from openthoughts.experiments.comparison import COMPARISON
from openthoughts.models.model import Model
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CHANCES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "first-weak-teacher": {
        "smollm2-135m-instruct": {"math": 0.8, "science": 0.3},  # the student of "math" below: the same data
        "smollm2-135m-bfloat16": {"math": 0.3, "science": 0.3},
    },
    "first-questions-or-answers": {
        "50000x1": {"math": 0.5, "science": 0.5},
        "1000x50": {"math": 0.5, "science": 0.5},
    },
    "open-transfer": {
        "math": {"math": 0.8, "science": 0.3},
        "mixed": {"math": 0.8, "science": 0.95},
        "smollm2-135m-instruct": {"math": 0.3, "science": 0.3},
    },
}
"""Experiment -> arm -> domain of the benchmark -> how often an answer is right."""


class Script:
    """What the server answers, by the name of the model that is asked."""

    def __init__(self) -> None:
        self.arms: dict[str, Mapping[str, float]] = {}
        self.references: dict[str, tuple[str, str]] = {}

    def answer(self, body: dict[str, Any]) -> str:
        """A right or a wrong answer of a student to a benchmark's question, anything to what else is asked."""
        asked = body["messages"][-1]["content"]
        chances = self.arms.get(body["model"])
        known = [(text, found) for text, found in self.references.items() if text in asked]
        if chances is None or not known:
            return f"{default_answer(body)} So says {body['model']}."  # two teachers make two datasets
        text, (domain, reference) = max(known, key=lambda one: len(one[0]))
        drawn = hashlib.sha256(f"{body['model']} {text} {body['seed']}".encode()).digest()[0] / 256
        answer = reference if drawn < chances[domain] else "Z"
        return f"<think>\nLet me see.\n</think>\n\n<answer>\\boxed{{{answer}}}</answer>"


def configured(checkout: Checkout) -> list[str]:
    """The files of the three experiments, and one that puts a tiny model into the place of the demo's."""
    own = checkout.folder / "own"
    own.mkdir()
    make_tiny_model(own / "tiny")
    tiny = {
        "kind": "folder", "path": "own/tiny/weights", "dtype": "bfloat16", "max_model_len": 2048, "template": "smollm2",
        "parameters": 50_000, "licence": "apache-2.0",
    }  # fmt: skip
    models = {"smollm2-135m-instruct": {**tiny, "dtype": "float32"}, "smollm2-135m-bfloat16": tiny}
    (own / "models.yaml").write_text(yaml.safe_dump(models))
    scales = yaml.safe_load((checkout.folder / "catalog" / "scales.yaml").read_text())
    (own / "scales.yaml").write_text(
        yaml.safe_dump({"demo": {**scales["demo"], "max_steps": 2, "learning_rate": 0.01}})
    )
    few = {"benchmarks": ["champ-holdout", "science-choice"]}
    domains = {"math": "arithmetic", "code": "strings", "science": "textbook"}
    drawn = {domain: {"sources": [source], "select": {"by": "random"}} for domain, source in domains.items()}
    recipes = {
        "math": {"decontaminate": few, "evaluation": few, "domains": {"math": drawn["math"]}},
        "math-filtered": {"decontaminate": few, "domains": {"math": drawn["math"]}},
        "mixed": {"decontaminate": few, "evaluation": few, "domains": drawn},
    }
    places = {"catalog": ["catalog", "demo/catalog", "own"], "results": "results/own", "store": "store/own"}
    transfer = {"arms": {"code": None}}
    smaller = {**places, "recipes": recipes, "experiments": {"open-transfer": transfer}}
    changes = {"targets": list(CHANCES), "size": "demo", "sizes": {"demo": smaller}}
    return [*(f"experiments/{name}.yaml" for name in CHANCES), checkout.write_config(changes)]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Checkout, Plan]]:
    """The three experiments, run."""
    checkout = Checkout(tmp_path_factory.mktemp("experiments"))
    files = configured(checkout)
    script = Script()
    before = Path.cwd()
    os.chdir(checkout.folder)
    try:
        config = read_config([Path("config.yaml"), *map(Path, files)])
        made = make_plan(config, read_catalog(config["catalog"]))
        with FakeServer(answer=script.answer) as server:
            server.keep_bodies = False
            for until in (["--until", "fetch_model", "fetch_benchmark"], ["--until", "train_student"], []):
                checkout.variables["OPENTHOUGHTS_SERVERS"] = json.dumps(addresses(made, server, script))
                checkout.snakemake("--configfile", *files, *until)
        yield checkout, made
    finally:
        os.chdir(before)


def addresses(plan: Plan, server: FakeServer, script: Script) -> dict[str, dict[str, str]]:
    """The server's address for every model that is there by now; students answer by the chances of their arm."""
    for stage in plan.index.values():
        if stage.kind == "benchmark" and Path(plan.path(stage)).is_file():
            for row in read_table(plan.path(stage), QUESTIONS).iter_rows(named=True):
                script.references[row["question"]] = (row["domain"], row["reference_answer"] or "")
    found = {}
    for name, experiment in plan.experiments.items():
        for arm, evaluations in experiment.evaluations.items():
            for evaluation in evaluations:
                model = evaluation.input("model")
                asked_as = f"{name}.{arm}"
                script.arms[asked_as] = CHANCES[name][arm]
                if Path(plan.path(model)).is_file():
                    key = Model.read(plan.path(model)).key_digest()
                    found[key] = {"base_url": server.base_url, "api_key": API_KEY, "model_name": asked_as}
    for stage in plan.index.values():
        if stage.kind == "model" and Path(plan.path(stage)).is_file():
            key = Model.read(plan.path(stage)).key_digest()
            found.setdefault(key, {"base_url": server.base_url, "api_key": API_KEY, "model_name": stage.id})
    server.models = [one["model_name"] for one in found.values()]
    return found


def compared(ran: tuple[Checkout, Plan], name: str) -> tuple[dict[tuple[str, str], dict[str, Any]], str]:
    """(arm, benchmark or group) -> row of the experiment's table, and its paragraph, in the folder of its name."""
    folder = ran[0].folder / "results" / "own" / "experiments" / name
    table = read_table(folder / "scores.parquet", COMPARISON)
    assert (folder / "plot.svg").read_text().startswith("<svg")
    assert pl.read_csv(folder / "scores.tsv", separator="\t").height == table.height
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["arms"]) == list(CHANCES[name])
    rows = {(row["arm"], row["benchmark"]): row for row in table.iter_rows(named=True)}
    return rows, (folder / "summary.md").read_text()


def test_a_known_difference_between_two_teachers_is_found(plan: tuple[Checkout, Plan]) -> None:
    rows, text = compared(plan, "first-weak-teacher")
    found = rows["smollm2-135m-instruct", "average"]
    assert found["low"] > 0
    assert found["low"] < 50 < found["high"]
    assert found["p_value"] < 0.01
    assert (found["questions"], found["samples"], found["answers"]) == (16, 2, 32)
    assert "**smollm2-135m-instruct** scores best" in text
    assert "outside the noise" in text


def test_equal_arms_come_out_as_noise(plan: tuple[Checkout, Plan]) -> None:
    rows, text = compared(plan, "first-questions-or-answers")
    found = rows["1000x50", "average"]
    assert found["low"] < 0 < found["high"]
    assert found["p_value"] > 0.05
    assert "inside the noise" in text
    assert "outside the noise" not in text


def test_the_transfer_matrix_shows_what_helps_where(plan: tuple[Checkout, Plan]) -> None:
    rows, _ = compared(plan, "open-transfer")
    telling = {key for key, row in rows.items() if key[1] in {"math", "science"} and (row["low"] or 0) > 0}
    assert telling == {("math", "math"), ("mixed", "math"), ("mixed", "science")}
    svg = (plan[0].folder / "results" / "own" / "experiments" / "open-transfer" / "plot.svg").read_text()
    for label in ("measured on", "math", "science", "mixed"):
        assert label in svg


def test_a_second_run_finds_nothing_to_do(plan: tuple[Checkout, Plan]) -> None:
    checkout, _ = plan
    files = [*(f"experiments/{name}.yaml" for name in CHANCES), "own.yaml"]
    assert checkout.jobs("--configfile", *files) == {}
