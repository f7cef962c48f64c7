"""A recipe's manifest: its stages with what they are made of, and a funnel that adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.finished_recipe import Finished, describe

import describe_recipe
import draw_questions
from openthoughts.base.cli import UserError
from openthoughts.report.funnel import by_stage, funnel
from openthoughts.report.manifest import Recipe
from openthoughts.report.page.sankey import LEVELS, sankey


def test_a_recipe_is_described_and_linked(tiny: Finished) -> None:
    before = tiny.manifest.read_bytes()
    describe(tiny)
    assert tiny.manifest.read_bytes() == before
    told = json.loads(before)
    assert {(stage["kind"], stage["id"]) for stage in told["stages"]} == {
        (stage.kind, stage.id) for stage in tiny.recipe.stages()
    }
    (drawn,) = [stage for stage in told["stages"] if stage["kind"] == "drawn" and stage["domain"] == "math"]
    assert drawn["rows"] == 25
    assert drawn["settings"] == {"count": 25, "seed": 42}
    assert drawn["inputs"] == {"questions": [f"deduplicated/{tiny.recipe.domains['math']['deduplicated'].id}"]}
    assert told["counts"]["rows"] == 179
    assert told["versions"]["polars"] == pl.__version__
    (dataset,) = [stage for stage in told["stages"] if stage["kind"] == "dataset"]
    link = tiny.manifest.parent / "dataset"
    assert not link.readlink().is_absolute()
    assert (tiny.manifest.parent / dataset["path"]).samefile(link / "dataset.parquet")


def test_a_manifest_is_read_back(tiny: Finished) -> None:
    recipe = Recipe.read(tiny.manifest)
    assert list(recipe.domains()) == ["math", "code"]
    assert [stage.kind for stage in recipe.domains()["code"]] == [
        "source", "clean", "selected", "mixed", "limited", "deduplicated", "drawn",
    ]  # fmt: skip
    assert funnel(recipe) == recipe.funnel
    assert all(stage.path.is_file() for stage in recipe.stages.values())


def test_the_funnel_adds_up_from_the_sources_to_the_dataset(tiny: Finished) -> None:
    rows = Recipe.read(tiny.manifest).funnel
    stages = by_stage(rows, "math")
    assert [(row["stage"], row["rows"], sum(row["dropped"].values())) for row in stages] == [
        ("source", 70, 0), ("clean", 64, 6), ("selected", 50, 14), ("mixed", 50, 0), ("limited", 50, 0),
        ("deduplicated", 47, 3), ("drawn", 25, 22),
    ]  # fmt: skip
    assert stages[1]["dropped"] == {"ngram": 2, "ngram and similarity": 4}
    answers = {(row["stage"], row["domain"]): row for row in rows if row["source"] is None}
    assert answers["filtered", "code"]["dropped"] == {"failed": 1}
    assert answers["dataset", None]["rows"] == 100 + 79


@pytest.mark.parametrize("kind", ["clean", "drawn", "filtered"])
def test_a_funnel_that_does_not_add_up_is_refused(kind: str, own_results: Path) -> None:
    recipe = Recipe.read(own_results / "recipes/tiny/manifest.json")
    stage = next(stage for stage in recipe.of_kind(kind) if stage.domain != "math" and "sums" not in stage.identity)
    pl.read_parquet(stage.path).head(5).write_parquet(stage.path)
    with pytest.raises(UserError, match=rf"{stage.identity}.* does not add up"):
        funnel(recipe)


def filled(results: Path, count: int) -> list[dict[str, Any]]:
    """The stages of the manifest with the questions of math drawn again by ``fill``, as the rule describes them."""
    manifest = results / "recipes/tiny/manifest.json"
    stages: list[dict[str, Any]] = json.loads(manifest.read_text())["stages"]
    for stage in stages:
        stage["path"] = str(manifest.parent / stage["path"])
    (drawn,) = [stage for stage in stages if stage["kind"] == "drawn" and stage["domain"] == "math"]
    (given,) = [stage for stage in stages if f"{stage['kind']}/{stage['id']}" == drawn["inputs"]["questions"][0]]
    drawn["settings"] = {"count": count, "seed": 42, "fill": True}
    arguments = ["--questions", given["path"], "--count", str(count), "--seed", "42", "--fill"]
    dropped = str(Path(drawn["path"]).with_name("dropped.parquet"))
    assert draw_questions.main([*arguments, "--output", drawn["path"], "--dropped", dropped]) == 0
    return stages


@pytest.mark.parametrize(("count", "repeated", "dropped"), [(110, 63, 0), (40, 0, 7)])
def test_a_draw_that_repeats_rows_adds_up(count: int, repeated: int, dropped: int, own_results: Path) -> None:
    given = ["--recipe", "tiny", "--stages", json.dumps(filled(own_results, count))]
    manifest = own_results / "recipes/tiny/manifest.json"
    assert describe_recipe.main([*given, "--output", str(manifest)]) == 0
    recipe = Recipe.read(manifest)
    drawn = by_stage(recipe.funnel, "math")[-1]
    assert drawn["rows"] == count
    assert (drawn["repeated"], sum(drawn["dropped"].values())) == (repeated, dropped)
    assert f"{LEVELS['drawn']}: {min(count, 47) + 20}" in sankey(recipe.funnel), "repeats are not drawn, code's 20 are"


def test_a_draw_with_fill_that_lost_a_row_is_refused(own_results: Path) -> None:
    stages = filled(own_results, 40)
    (drawn,) = [stage["path"] for stage in stages if stage["kind"] == "drawn" and stage["domain"] == "math"]
    pl.read_parquet(drawn).tail(-1).write_parquet(drawn)
    given = ["--recipe", "tiny", "--stages", json.dumps(stages), "--output", str(own_results / "again.json")]
    assert describe_recipe.main(given) == 1


def test_a_file_in_the_way_of_a_link_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("mine")
    given = ["--recipe", "r", "--stages", "[]", "--link", "data", str(tmp_path)]
    assert describe_recipe.main([*given, "--output", str(tmp_path / "manifest.json")]) == 1
    assert "is in the way" in capsys.readouterr().err
    assert (tmp_path / "data").read_text() == "mine"


def test_a_missing_stage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.dumps([{"kind": "source", "id": "web-1", "path": str(tmp_path / "gone.parquet")}])
    assert describe_recipe.main(["--recipe", "r", "--stages", told, "--output", str(tmp_path / "m.json")]) == 1
    assert "gone.parquet does not exist" in capsys.readouterr().err
