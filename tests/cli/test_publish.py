"""Publishing to a hub on loopback with the hub's own client: what arrives, what is refused, and going on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import yaml
from tests.fake_hub import FakeHub
from tests.finished_recipe import Finished

import publish_dataset
import publish_model
from openthoughts.plan.config import merged
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.page.answer_sections import answers_section
from openthoughts.report.page.sections import facts
from openthoughts.report.publishing import card
from openthoughts.sources.reading import read_questions

OWN = {"README.md", "recipe.yaml", "lock.yaml", "manifest.json"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub().running() as running:
        running.use(monkeypatch, tmp_path / "cache")
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield running


def arguments(tiny: Finished, repository: str = "me/tiny", private: bool = True, **changes: Any) -> list[str]:
    """The arguments for publishing the recipe, with some changes of its configuration."""
    publish = {"dataset": repository, "model": repository, "private": private}
    wanted = merged({"recipes": {"tiny": {"publish": publish}}}, changes)
    return ["--plan", str(tiny.plan_file(**wanted))]


def newest(hub: FakeHub, name: str = "me/tiny") -> dict[str, bytes]:
    """The files of a repository's newest commit."""
    repository = hub.repositories[name]
    return repository.commits[repository.refs["main"]]


def test_a_dataset_arrives_privately_with_its_card(tiny: Finished, hub: FakeHub, tmp_path: Path) -> None:
    assert publish_dataset.main(arguments(tiny)) == 0
    assert hub.repositories["me/tiny"].private
    files = newest(hub)
    assert set(files) == {".gitattributes", "dataset.parquet", "dataset_info.json", "counts.json", *OWN}
    assert files["dataset.parquet"] == Path(tiny.plan.path(tiny.recipe.dataset)).read_bytes()
    _, front, text = files["README.md"].decode().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "cc-by-4.0"
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "dataset.parquet"}]
    for part in (
        "179 rows", "an answer of oracle", "| math | sums | cc-by-4.0 | 13 | 52 |", "| math | clean | 64 | 62 | 6 |",
        "Against exam: 75 % similarity or 13 shared tokens", "| exam | 13-gram |", "| student | exam | 3 | 4 | 100.0 |",
        "snakemake --configfile recipe.yaml",
    ):  # fmt: skip
        assert part in text, part
    again = yaml.safe_load(files["recipe.yaml"])["recipes"]["tiny"]
    assert {key: value for key, value in again.items() if key != "publish"} == tiny.config["recipes"]["tiny"]
    assert json.loads(files["manifest.json"]) == json.loads(tiny.manifest.read_text())


def test_examples_of_a_classifier_are_no_answers_of_the_recipe(tiny: Finished) -> None:
    recipe = Recipe.read(tiny.manifest)
    (own, *_) = recipe.of_kind("answers")
    coach = Stage("model", None, "coach-0", own.path, {"name": "coach"})
    example = replace(own, domain=None, identity="sums-0", inputs={"model": [coach.name]})
    learnt = replace(recipe, stages={coach.name: coach, example.name: example, **recipe.stages})
    assert card(learnt, "dataset") == card(recipe, "dataset")
    assert facts(learnt) == facts(recipe)
    assert [row[0] for row in answers_section(learnt).tables[0].rows] == ["math", "code"]


def test_what_was_published_is_read_by_the_hubs_own_connector(tiny: Finished, hub: FakeHub, tmp_path: Path) -> None:
    assert publish_dataset.main(arguments(tiny)) == 0
    entry = {"connector": "hub", "dataset": "me/tiny", "chat": "conversations"}
    questions = pl.concat(read_questions("again", "math", entry, hub.repositories["me/tiny"].refs["main"]))
    assert questions.height == 179


def test_a_model_arrives_with_its_weights(tiny: Finished, hub: FakeHub) -> None:
    assert publish_model.main(arguments(tiny, repository="me/student")) == 0
    files = newest(hub, "me/student")
    assert {"config.json", "model.safetensors", *OWN} <= set(files)
    assert len(files["model.safetensors"]) == 1000
    front = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert front["base_model"] == "smollm2-135m-instruct"
    assert front["pipeline_tag"] == "text-generation"
    assert (
        "Training data: 170 rows of the dataset, 20,000 tokens of those that are kept (15,000 trained on)"
        in files["README.md"].decode()
    )
    assert "rows dropped because their question leaves no room for an answer: 3" in files["README.md"].decode()


def test_an_interrupted_upload_goes_on(tiny: Finished, hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fault("/commit/main$", times=1, status=403)
    assert publish_dataset.main(arguments(tiny)) == 1
    assert "run again: what was sent is not sent again" in capsys.readouterr().err
    sent = [path for method, path, _ in hub.requests if method == "PUT"]
    assert len(sent) == 1
    assert publish_dataset.main(arguments(tiny)) == 0
    assert [path for method, path, _ in hub.requests if method == "PUT"] == sent
    commits = len(hub.repositories["me/tiny"].commits)
    assert publish_dataset.main(arguments(tiny)) == 0
    assert set(newest(hub)) >= OWN
    assert len(hub.repositories["me/tiny"].commits) <= commits + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": {"tiny": {"shuffle_seed": 7}}}, "was made by another configuration than this one"),
        ({"results": "gone"}, "gone/recipes/tiny/manifest.json is not a JSON file"),
    ],
)
def test_what_is_refused_sends_nothing(
    changes: dict[str, Any], message: str, tiny: Finished, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish_dataset.main(arguments(tiny, **changes)) == 1
    assert message in capsys.readouterr().err
    assert hub.requests == []


@pytest.mark.parametrize("program", [publish_dataset, publish_model])
def test_nothing_private_goes_into_a_public_repository(
    program: ModuleType, tiny: Finished, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hub.commit("me/tiny", {"README.md": "mine"})
    assert program.main(arguments(tiny)) == 1
    assert "me/tiny is there already and public: make it private" in capsys.readouterr().err
    assert hub.repositories["me/tiny"].refs == {"main": before}
    assert not hub.large, "nothing was sent"
    hub.repositories["me/tiny"].private = True
    assert program.main(arguments(tiny)) == 0


def test_an_unknown_licence_is_not_made_public(
    tiny: Finished, own_results: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = own_results / "recipes/tiny/manifest.json"
    told = json.loads(manifest.read_text())
    for stage in told["stages"]:
        stage["about"].pop("licence", None)
    manifest.write_text(json.dumps(told))
    public = arguments(tiny, private=False, results=str(own_results))
    allowed = arguments(tiny, private=False, results=str(own_results), licences=["cc-by-4.0", "unknown"])
    assert publish_dataset.main(public) == 1
    assert "is unknown" in capsys.readouterr().err
    refused = arguments(tiny, private=True, results=str(own_results), licences=["cc-by-4.0"])
    assert publish_dataset.main(refused) == 1
    assert "(unknown) is not among `licences`" in capsys.readouterr().err
    assert publish_dataset.main([*allowed, "--check"]) == 0
    assert hub.requests == []
    assert publish_dataset.main(allowed) == 0
    assert not hub.repositories["me/tiny"].private


def test_no_token_and_no_recipe_are_one_sentence_each(
    tiny: Finished, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert publish_dataset.main(arguments(tiny)) == 1
    assert "HF_TOKEN" in capsys.readouterr().err
    nowhere = {"recipes": {"tiny": {"publish": {"model": None}}}}
    for changes in ({}, nowhere):
        assert publish_model.main(["--plan", str(tiny.plan_file(**changes))]) == 1
        assert "no recipe among the targets says where to publish" in capsys.readouterr().err
