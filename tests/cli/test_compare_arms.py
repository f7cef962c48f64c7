"""The comparison of an experiment's arms, as list_arms describes them: curves, matrices and published figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
from tests.unit.test_comparison import arm

import compare_arms
import describe_experiment
import list_arms
from openthoughts.base.tables import read_table
from openthoughts.experiments.comparison import COMPARISON

ROOT = Path(__file__).resolve().parents[2]


def compared(folder: Path, asked: dict[str, Any]) -> tuple[pl.DataFrame, str, str]:
    """The table, the plot and the paragraph of arms ``a0`` to ``a3``, each better than the one before."""
    for number in range(4):
        arm(folder, f"a{number}", [number], gain=0.08 * number)
    runs = {f"a{n}": [[str(folder / f"a{n}-{n}.scores"), str(folder / f"a{n}-{n}.grades")]] for n in range(4)}
    described = {"experiment": "e", "about": "What helps?", "compare_to": "a0", "arms": runs, "students": {}, **asked}
    described = {"groups": {}, "averaged": ["easy", "hard"], "plot": "bars", **described}
    (folder / "arms.json").write_text(json.dumps(described))
    given = ["--arms", str(folder / "arms.json"), "--table", str(folder / "scores.tsv")]
    given += ["--output", str(folder / "scores.parquet"), "--plot", str(folder / "plot.svg")]
    assert compare_arms.main([*given, "--summary", str(folder / "summary.md")]) == 0
    table = read_table(folder / "scores.parquet", COMPARISON)
    return table, (folder / "plot.svg").read_text(), (folder / "summary.md").read_text()


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    figures = {
        "source": "a paper, table 1",
        "arms": {"a0": {"average": [30.0, 0.4]}, "a2": {"average": [45.0], "easy": [50.0]}},
    }
    table, plot, text = compared(tmp_path, {"published": figures})
    rows = {(row["arm"], row["benchmark"]): row for row in table.iter_rows(named=True)}
    assert (rows["a0", "average"]["published"], rows["a0", "average"]["published_error"]) == (30.0, 0.4)
    assert rows["a2", "easy"]["published"] == 50.0
    assert rows["a1", "average"]["published"] is None
    assert (
        "Published (a paper, table 1): a2 is best there, with 45.0; of 1 pair of arms, 1 are in the same order" in text
    )
    assert "What helps?" in text
    assert "red: published" in plot


def test_a_curve_is_drawn_over_its_numbers(tmp_path: Path) -> None:
    points = {"a0": [100, "small"], "a1": [1000, "small"], "a2": [1000, "large"]}
    _, plot, _ = compared(tmp_path, {"plot": "curve", "x": "rows", "points": points})
    for label in ("rows", "small", "large", "a3", "average"):
        assert f">{label}<" in plot, label


def test_a_curve_of_one_number_is_drawn_as_bars(tmp_path: Path) -> None:
    points = {f"a{number}": [8, ""] for number in range(4)}
    _, plot, _ = compared(tmp_path, {"plot": "curve", "x": "rows", "points": points})
    assert ">a1<" in plot


def test_a_matrix_has_a_cell_for_every_arm_and_group(tmp_path: Path) -> None:
    _, plot, _ = compared(tmp_path, {"plot": "matrix", "groups": {"math": ["easy"], "code": ["hard"]}})
    assert len(re.findall(r">\d+\.\d ± \d+\.\d[^<]*<", plot)) == 8
    assert 'font-weight="bold"' in plot
    assert ">math<" in plot


def test_what_is_not_averaged_is_compared_apart(tmp_path: Path) -> None:
    table, _, text = compared(tmp_path, {"averaged": ["easy"]})
    rows = {(row["arm"], row["benchmark"]): row["score"] for row in table.iter_rows(named=True)}
    assert rows["a1", "average"] == rows["a1", "easy"] != rows["a1", "hard"]
    assert "on average over 1 benchmark (100 questions" in text


def test_an_experiment_lies_in_a_folder_of_its_name(tmp_path: Path) -> None:
    compared(tmp_path, {})
    output = tmp_path / "by-name" / "manifest.json"
    assert describe_experiment.main(["--experiment", "e", "--folder", str(tmp_path), "--output", str(output)]) == 0
    assert (tmp_path / "by-name" / "summary.md").read_text().startswith("# e\n")
    assert list(json.loads(output.read_text())["arms"]) == ["a0", "a1", "a2", "a3"]


def settings(arms: int) -> dict[str, Any]:
    vary = {"answers.seed": list(range(arms))}
    recipe = {
        "decontaminate": {"benchmarks": []},
        "answers": {"teacher": "qwq-32b", "samples": 1},
        "domains": {"math": {"sources": ["openmath-2-math"], "select": {"by": "random"}, "draw": 100}},
        "training": {"student": "qwen2.5-7b-instruct", "scale": "medium"},
        "evaluation": {"benchmarks": ["math500"]},
    }
    return {
        "catalog": [str(ROOT / "catalog")],
        "recipes": {"one": recipe},
        "experiments": {"many": {"base": "one", "vary": vary}},
    }


def test_a_thousand_arms_are_listed_by_a_short_line(tmp_path: Path) -> None:
    from openthoughts.plan.catalog import read_catalog
    from openthoughts.plan.plan_file import content_path, plan_text, write_once
    from openthoughts.plan.planner import make_plan

    given = {**settings(1500), "targets": ["many"]}
    text = plan_text(given, make_plan(given, read_catalog(given["catalog"])))
    path = content_path(tmp_path, text, ".json")
    write_once(path, text)
    line = ["--plan", str(path), "--experiment", "many", "--output", str(tmp_path / "arms.json")]
    assert list_arms.main(line) == 0
    arms = json.loads((tmp_path / "arms.json").read_text())["arms"]
    assert len(arms) == 1500
