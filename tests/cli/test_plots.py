"""The plots of a recipe: SVG that shows its numbers, beside a table of them; the same input gives the same bytes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import drawn
from tests.finished_recipe import Finished

import plot_recipe
from openthoughts.base.cli import UserError
from openthoughts.base.tables import DROPPED, SCORES, write_table
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import merged, read_yaml
from openthoughts.plan.planner import make_plan
from openthoughts.report.plots import save_svg, write_tsv
from openthoughts.report.recipe_plots import DRAW, tables_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one input of every plot."""
    folder = tmp_path_factory.mktemp("inputs")
    drawn(folder / "sourced.parquet", ["a", "a", "b & <c>"], "code")
    drawn(folder / "drawn.parquet", ["a"], "code")
    pl.DataFrame({"value": [3.0, 3.0, 9.0, None]}).write_parquet(folder / "labels.parquet")
    evidence = {**DROPPED, "benchmark": pl.String, "method": pl.String}
    row = ("q", "ours", "0", "decontaminate", "similarity", "HumanEval", "indel")
    write_table(pl.DataFrame([row], schema=evidence, orient="row"), folder / "dropped.parquet", DROPPED)
    write_table(pl.DataFrame(schema=evidence), folder / "nothing.parquet", DROPPED)
    pl.DataFrame({"step": [1, 2, 3], "loss": [2.0, 1.5, 1.25], "learning_rate": [0.0, 1e-5, 5e-6]}).write_parquet(
        folder / "metrics.parquet"
    )
    scores = [("champ", 10, 2, 40.0, 5.0, 0, 0, 0), ("gym", 1, 2, 50.0, None, 0, 0, 0)]
    write_table(pl.DataFrame(scores, schema=dict(SCORES), orient="row"), folder / "scores.parquet", SCORES)
    (folder / "usage" / "train_student").mkdir(parents=True)
    measured = json.dumps({"s": 12.5, "max_rss": 700.0, "cpu_time": 20.0})
    (folder / "usage" / "train_student" / "x.jsonl").write_text(measured + "\n")
    return folder


PLOTS = {
    "funnel": (
        "funnel",
        [("sourced", "sourced.parquet"), ("drawn", "drawn.parquet")],
        ["sourced", "3 (2)", "code"],
        "stage\tdomain\trows\tquestions\nsourced\tcode\t3\t2\ndrawn\tcode\t1\t1\n",
    ),
    "labels": (
        "difficulty",
        [("code: difficulty", "labels.parquet")],
        ["code: difficulty", "label"],
        "series\tlow\thigh\tcount\ncode: difficulty\t2.5\t3.5\t2\n",
    ),
    "decontamination": (
        "decontamination",
        [("ours", "dropped.parquet")],
        ["HumanEval", "indel"],
        "source\tbenchmark\tmethod\tcount\nours\tHumanEval\tindel\t1\n",
    ),
    "nothing dropped": (
        "decontamination",
        [("ours", "nothing.parquet")],
        ["dropped nothing"],
        "source\tbenchmark\tmethod\tcount\n",
    ),
    "training": (
        "training",
        [("student", "metrics.parquet")],
        ["loss", "learning rate", "optimiser step"],
        "student\tstep\tloss\tlearning_rate\nstudent\t1\t2.0\t0.0\n",
    ),
    "scores": (
        "scores",
        [("base", "scores.parquet"), ("student", "scores.parquet")],
        ["champ", "gym", "average", "base", "student", "45"],
        "model\tbenchmark\tquestions\tsamples\tscore",
    ),
    "resources": (
        "resources",
        [("train_student", "usage/train_student/x.jsonl")],
        ["train_student", "wall time"],
        "rule\tjobs\tseconds\tlongest_seconds\tprocessor_seconds\tmemory_mb\ntrain_student\t1\t12.5\t12.5\t20.0\t700.0\n",
    ),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_shows_its_numbers(name: str, inputs: Path, tmp_path: Path) -> None:
    plot, tables, shown, table = PLOTS[name]
    for number in (1, 2):
        numbers, chart = DRAW[plot]([(label, inputs / path) for label, path in tables])
        write_tsv(numbers, tmp_path / f"{number}.tsv")
        save_svg(chart, tmp_path / f"{number}.svg")
    svg = (tmp_path / "1.svg").read_text()
    texts = " | ".join("".join(element.itertext()) for element in ElementTree.fromstring(svg).iter())
    assert all(text in texts for text in shown), texts
    assert (tmp_path / "1.tsv").read_text().startswith(table)
    assert svg == (tmp_path / "2.svg").read_text()


@pytest.mark.parametrize("plot", DRAW)
def test_every_plot_of_a_finished_recipe_is_drawn_from_its_plan(plot: str, tiny: Finished, tmp_path: Path) -> None:
    given = ["--plan", str(tiny.plan_file()), "--recipe", "tiny", "--plot", plot]
    given += ["--output", str(tmp_path / "plot.svg"), "--table", str(tmp_path / "plot.tsv")]
    assert plot_recipe.main(given) == 0
    assert len((tmp_path / "plot.tsv").read_text().splitlines()) > 1
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")


def test_the_funnel_has_no_examples_of_a_classifier() -> None:
    examples = {"positives": [{"source": "codeforces-python", "model": "gpt-4o-mini"}], "negatives": ["dolphin-coder"]}
    learnt = {"by": "fasttext", "keep": 1000, "examples": examples}
    config = merged(
        read_yaml(ROOT / "config.yaml"), {"recipes": {"openthoughts3": {"domains": {"code": {"filter": learnt}}}}}
    )
    plan = make_plan(config, read_catalog([ROOT / "catalog"]))
    recipe = plan.recipes["openthoughts3"]
    tables = [(label, str(path)) for label, path in tables_of("funnel", plan, recipe)]
    assert any(stage.id.startswith("codeforces-python") for stage in recipe.stages() if stage.kind == "drawn")
    assert [label for label, _ in tables if label in ("drawn", "selected")] == ["selected"] * 5 + ["drawn"] * 3
    assert len([path for label, path in tables if label == "sourced"]) == 5
    assert not [path for _, path in tables if "codeforces" in path or "dolphin" in path]


def test_an_input_that_is_missing_is_named(tmp_path: Path, inputs: Path, tiny: Finished) -> None:
    with pytest.raises(UserError, match=r"gone\.parquet does not exist"):
        DRAW["funnel"]([("sourced", tmp_path / "gone.parquet")])
    elsewhere = replace(tiny.plan, results=str(tmp_path))
    with pytest.raises(UserError, match="holds no benchmark file"):
        tables_of("resources", elsewhere, tiny.recipe)
