"""The pages on extending the workflow, followed to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
import yaml

from openthoughts import grading
from openthoughts.base.cli import UserError
from openthoughts.base.options import problems
from openthoughts.costs.estimates import estimate_stage
from openthoughts.grading import graders
from openthoughts.inference.prompts import Prompt
from openthoughts.plan.catalog import Catalog, read_catalog
from openthoughts.plan.config import ConfigurationError, merged, prepared, read_yaml
from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.planner import make_plan
from openthoughts.plan.settings.entries import Model
from openthoughts.questions import labels as label_methods
from openthoughts.questions.labelling import read_label, response_schema
from openthoughts.questions.labels import Label
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
    before = Builder(Catalog(sources={"riddles": entry})).fetched("source", "riddles").id
    assert Builder(Catalog(sources={"riddles": entry})).fetched("source", "riddles").id == before
    (tmp_path / "riddles.tsv").write_text("What has changed?\tthe file\n")
    assert Builder(Catalog(sources={"riddles": entry})).fetched("source", "riddles").id != before


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
    models, forms, config = blocks("model.md", "yaml")
    (tmp_path / "models.yaml").write_text(models + forms)
    mine = yaml.safe_load(config)
    mine |= {"catalog": [str(ROOT / "catalog"), str(tmp_path)], "gpu": "h100"}
    assert not [problem for name, entry in yaml.safe_load(forms).items() for problem in problems(Model, entry, name)]
    whole = prepared(merged(read_yaml(ROOT / "config.yaml"), mine))
    plan = make_plan(whole, read_catalog(whole["catalog"]))
    (experiment,) = plan.experiments.values()
    assert list(experiment.arms) == ["qwq-32b", "my-hosted-teacher", "my-local-teacher"]
    (hosted,) = experiment.arms["my-hosted-teacher"]
    answers = [estimate_stage(stage) for stage in hosted.stages() if stage.kind == "answers"]
    assert sum(one.requests for one in answers) == 1_200_000
    assert sum(one.usd for one in answers) == pytest.approx(1.2e6 * (150 * 0.5 + 9000 * 2.0) / 1e6)
    (local,) = experiment.arms["my-local-teacher"]
    (missing,) = {frozenset(estimate_stage(s).unknown["gpu_hours"]) for s in local.stages() if s.kind == "answers"}
    assert missing == {"architecture of my-local-teacher"}, "which the lock notes"


def test_a_prompt(tmp_path: Path) -> None:
    (text,) = blocks("prompt.md", "markdown")
    config, sources = blocks("prompt.md", "yaml")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/in_units.md").write_text(text)
    (tmp_path / "heights.csv").write_text("question,unit,height\nHow high is it?,feet,9\n")
    entries = yaml.safe_load(sources)
    entries["heights"]["path"] = str(tmp_path / "heights.csv")
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump(entries))
    mine = yaml.safe_load(config)
    mine["catalog"] = [str(ROOT / "catalog"), str(tmp_path)]
    whole = prepared(merged(read_yaml(ROOT / "config.yaml"), mine))
    assert make_plan(whole, read_catalog(whole["catalog"])).recipes
    (table,) = read_questions("heights", "science", entries["heights"])
    (row,) = table.iter_rows(named=True)
    system, user = Prompt.read(tmp_path / "prompts/in_units.md").messages(row["question"], row["metadata"])
    assert system == {"role": "system", "content": "You answer in the unit that is asked for."}
    assert user["content"] == "Give the final answer within \\boxed{answer}, in feet.\n\nHow high is it?"

    for wanted, sentence in (("width", "which questions of heights do not have"), ("answer", "would tell the model")):
        (tmp_path / "prompts/in_units.md").write_text(text + f"{{{{ {wanted} }}}}")
        with pytest.raises(ConfigurationError, match=sentence):
            make_plan(whole, read_catalog(whole["catalog"]))


def test_a_label_that_a_model_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for block in blocks("filter.md", "python") if "Clarity" in block)
    (rubric,) = blocks("filter.md", "markdown")
    select = next(block for block in blocks("filter.md", "yaml") if "clarity" in block)
    (tmp_path / "added").mkdir()
    (tmp_path / "added/clarity.py").write_text(code)
    (tmp_path / "catalog/prompts").mkdir(parents=True)
    (tmp_path / "catalog/prompts/clarity.md").write_text(rubric)
    monkeypatch.setattr(label_methods, "__path__", [*label_methods.__path__, str(tmp_path / "added")])
    config = read_yaml(ROOT / "config.yaml")
    config["catalog"] = [str(ROOT / "catalog"), str(tmp_path / "catalog")]
    config["recipes"]["openthoughts3"]["domains"]["math"] |= {**yaml.safe_load(select), "draw": 4}
    plan = make_plan(prepared(config), read_catalog(config["catalog"]))
    labels = [stage for stage in plan.recipes["openthoughts3"].stages() if stage.settings.get("method") == "clarity"]
    assert labels
    estimate = estimate_stage(labels[0])
    assert estimate.input_tokens == 400 * estimate.requests > 0
    schema = response_schema("clarity")
    assert schema is not None and set(schema.schema["required"]) == {"clarity", "reasoning"}
    answer = {"text": '{"clarity": 4, "reasoning": "It is."}', "error": None}
    assert read_label("clarity", answer) == Label(4.0, "It is.")
    assert read_label("clarity", {**answer, "text": '{"clarity": 9}'}).value is None
