"""The pages on extending the workflow, followed to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
import yaml

from openthoughts import grading
from openthoughts.base.cli import UserError
from openthoughts.costs.estimates import estimate_stage
from openthoughts.grading import graders
from openthoughts.plan.catalog import Catalog, read_catalog
from openthoughts.plan.config import merged, prepared, read_yaml
from openthoughts.plan.planner import Planner, make_plan
from openthoughts.sources import connectors
from openthoughts.sources.reading import read_questions

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs/extending" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_a_connector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("source.md", "python")
    (tmp_path / "added").mkdir()
    (tmp_path / "added/riddles.py").write_text(code)
    monkeypatch.setattr(connectors, "__path__", [*connectors.__path__, str(tmp_path / "added")])
    (tmp_path / "riddles.tsv").write_text("What has keys and opens nothing?\ta piano\nWhat is it?\n\n")
    entry = {"connector": "riddles", "domain": "science", "path": str(tmp_path / "riddles.tsv")}
    table = pl.concat(read_questions("riddles", "science", entry))
    assert table["question"].to_list() == ["What has keys and opens nothing?", "What is it?"]
    assert table["reference_answer"].to_list() == ["a piano", None]
    with pytest.raises(UserError, match="change `path`"):
        list(read_questions("riddles", "science", {**entry, "path": "gone"}))
    with pytest.raises(UserError, match="the key 'path' is missing"):
        list(read_questions("riddles", "science", {"connector": "riddles"}))
    with pytest.raises(UserError, match=r"unknown key 'pth' \(did you mean path\?\)"):
        list(read_questions("riddles", "science", {**entry, "pth": "gone"}))
    before = Planner(Catalog(sources={"riddles": entry})).fetched("source", "riddles").id
    assert Planner(Catalog(sources={"riddles": entry})).fetched("source", "riddles").id == before
    (tmp_path / "riddles.tsv").write_text("What has changed?\tthe file\n")
    assert Planner(Catalog(sources={"riddles": entry})).fetched("source", "riddles").id != before


def test_a_source_of_the_hub(tmp_path: Path) -> None:
    (entry,) = blocks("source.md", "yaml")
    (tmp_path / "sources.yaml").write_text(entry)
    catalog = read_catalog([str(ROOT / "catalog"), str(tmp_path)])
    assert catalog.sources["gsm8k"]["dataset"] == "openai/gsm8k"


def test_a_grader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("grader.md", "python")
    (tmp_path / "within.py").write_text(code)
    monkeypatch.setattr(graders, "__path__", [*graders.__path__, str(tmp_path)])
    outcomes = [
        grading.grade_one(grading.Task("within", response, "200", "{}")).outcome
        for response in ("About 199.", r"\boxed{150}", "I cannot say.", None)
    ]
    assert outcomes == ["correct", "wrong", "unparseable", "failed"]


def test_a_model(tmp_path: Path) -> None:
    models, config = blocks("model.md", "yaml")
    (tmp_path / "models.yaml").write_text(models)
    mine = yaml.safe_load(config)
    mine["catalog"] = [str(ROOT / "catalog"), str(tmp_path)]
    whole = prepared(merged(read_yaml(ROOT / "config.yaml"), mine))
    plan = make_plan(whole, read_catalog(whole["catalog"]))
    (experiment,) = plan.experiments.values()
    assert list(experiment.arms) == ["qwq-32b", "my-hosted-teacher", "my-local-teacher"]
    (hosted,) = experiment.arms["my-hosted-teacher"]
    answers = [estimate_stage(stage) for stage in hosted.stages() if stage.kind == "answers"]
    assert sum(one.requests for one in answers) == 1_200_000
    assert sum(one.usd for one in answers) == pytest.approx(1.2e6 * (150 * 0.5 + 9000 * 2.0) / 1e6)
    (local,) = experiment.arms["my-local-teacher"]
    assert all(estimate_stage(stage).gpu_hours for stage in local.stages() if stage.kind == "answers")
