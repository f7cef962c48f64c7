"""A recipe's manifest: its stages with what they are made of, and a funnel that adds up."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.finished_recipe import Finished, describe

import describe_recipe
import draw_questions
from openthoughts.base.cli import UserError
from openthoughts.plan.plan_file import recipe_of
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
        ("source", 70, 0), ("clean", 64, 6), ("selected", 52, 12), ("mixed", 52, 0), ("limited", 52, 0),
        ("deduplicated", 49, 3), ("drawn", 25, 24),
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


def refilled(tiny: Finished, results: Path, count: int) -> tuple[list[str], Path]:
    """The questions of math drawn again by ``fill``: the arguments that describe the recipe, and what was drawn."""
    changes = {"results": str(results), "recipes": {"tiny": {"domains": {"math": {"draw": count, "fill": True}}}}}
    path = tiny.plan_file(**changes)
    of, recipe = recipe_of(path, "tiny")
    for before, after in zip(tiny.recipe.stages(), recipe.stages(), strict=True):
        if before.id != after.id:
            (results / before.folder).rename(results / after.folder)
    stage = recipe.domains["math"]["drawn"]
    drawn, given = Path(of.plan.path(stage)), of.plan.path(stage.input("questions"))
    arguments = ["--questions", given, "--count", str(count), "--seed", "42", "--fill", "--output", str(drawn)]
    assert draw_questions.main([*arguments, "--dropped", str(drawn.with_name("dropped.parquet"))]) == 0
    manifest = results / "recipes/tiny/manifest.json"
    for link in manifest.parent.iterdir():
        if link.is_symlink():
            link.unlink()
    return ["--plan", str(path), "--recipe", "tiny", "--output", str(manifest)], drawn


@pytest.mark.parametrize(("count", "repeated", "dropped"), [(110, 61, 0), (40, 0, 9)])
def test_a_draw_that_repeats_rows_adds_up(
    count: int, repeated: int, dropped: int, tiny: Finished, own_results: Path
) -> None:
    given, _ = refilled(tiny, own_results, count)
    assert describe_recipe.main(given) == 0
    recipe = Recipe.read(own_results / "recipes/tiny/manifest.json")
    drawn = by_stage(recipe.funnel, "math")[-1]
    assert drawn["rows"] == count
    assert (drawn["repeated"], sum(drawn["dropped"].values())) == (repeated, dropped)
    assert f"{LEVELS['drawn']}: {min(count, 49) + 20}" in sankey(recipe.funnel), "repeats are not drawn, code's 20 are"


def test_a_draw_with_fill_that_lost_a_row_is_refused(
    tiny: Finished, own_results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, drawn = refilled(tiny, own_results, 40)
    pl.read_parquet(drawn).tail(-1).write_parquet(drawn)
    assert describe_recipe.main(given) == 1
    assert "does not add up" in capsys.readouterr().err


def test_a_file_in_the_way_of_a_link_is_kept(
    tiny: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset").write_text("mine")
    given = ["--plan", str(tiny.plan_file()), "--recipe", "tiny"]
    assert describe_recipe.main([*given, "--output", str(tmp_path / "manifest.json")]) == 1
    assert "is in the way" in capsys.readouterr().err
    assert (tmp_path / "dataset").read_text() == "mine"


def test_a_missing_stage_is_named(tiny: Finished, own_results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny.recipe.stages()[0]
    (own_results / source.folder / "questions.parquet").unlink()
    given = ["--plan", str(tiny.plan_file(results=str(own_results))), "--recipe", "tiny"]
    assert describe_recipe.main([*given, "--output", str(own_results / "again.json")]) == 1
    assert f"{source.id}/questions.parquet does not exist" in capsys.readouterr().err


def test_a_plan_that_is_gone_and_a_recipe_that_it_lacks_are_one_sentence_each(
    tiny: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "manifest.json")]
    assert describe_recipe.main(["--plan", str(tmp_path / "gone.json"), "--recipe", "tiny", *output]) == 1
    assert "gone.json does not exist: run the workflow again" in capsys.readouterr().err
    assert describe_recipe.main(["--plan", str(tiny.plan_file()), "--recipe", "tinny", *output]) == 1
    assert "no recipe tinny (did you mean tiny?)" in capsys.readouterr().err
