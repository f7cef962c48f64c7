"""The pages on extending the workflow, followed to the letter."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
import yaml

from openthoughts import grading
from openthoughts.base.cli import UserError
from openthoughts.costs.estimates import estimate_stage
from openthoughts.grading import graders
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import merged, prepared, read_yaml
from openthoughts.plan.planner import make_plan
from openthoughts.sources import entries as catalog_entries
from openthoughts.sources.reading import read_questions

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs/extending" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def module(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module of this code be imported by ``name``."""
    made = ModuleType(name)
    exec(code, vars(made))
    monkeypatch.setitem(sys.modules, name, made)


def test_a_connector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, keys = blocks("source.md", "python")
    module("openthoughts.sources.riddles", code, monkeypatch)
    added = eval(f"{{{keys}}}", vars(catalog_entries))
    monkeypatch.setattr(catalog_entries, "CONNECTORS", {**catalog_entries.CONNECTORS, **added})
    (tmp_path / "riddles.tsv").write_text("What has keys and opens nothing?\ta piano\nWhat is it?\n\n")
    entry = {"connector": "riddles", "path": str(tmp_path / "riddles.tsv")}
    table = pl.concat(read_questions("riddles", "science", entry))
    assert table["question"].to_list() == ["What has keys and opens nothing?", "What is it?"]
    assert table["reference_answer"].to_list() == ["a piano", None]
    with pytest.raises(UserError, match="mend `path`"):
        list(read_questions("riddles", "science", {**entry, "path": "gone"}))
    with pytest.raises(UserError, match="path"):
        list(read_questions("riddles", "science", {"connector": "riddles", "pth": "gone"}))


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
