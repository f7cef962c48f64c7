"""The plots of a recipe: SVG that shows its numbers, beside a table of them; the same input gives the same bytes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from tests.answer_tables import drawn

import plot_decontamination
import plot_funnel
import plot_histogram
import plot_resources
import plot_scores
import plot_training
from openthoughts.base.tables import DROPPED, SCORES, write_table


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
        plot_funnel,
        ["--stage", "sourced", "sourced.parquet", "--stage", "drawn", "drawn.parquet"],
        ["sourced", "3 (2)", "code"],
        "stage\tdomain\trows\tquestions\nsourced\tcode\t3\t2\ndrawn\tcode\t1\t1\n",
    ),
    "histogram": (
        plot_histogram,
        ["--series", "code: difficulty", "labels.parquet", "value", "--axis", "grade"],
        ["code: difficulty", "grade"],
        "series\tlow\thigh\tcount\ncode: difficulty\t2.5\t3.5\t2\n",
    ),
    "decontamination": (
        plot_decontamination,
        ["--dropped", "ours", "dropped.parquet"],
        ["HumanEval", "indel"],
        "source\tbenchmark\tmethod\tcount\nours\tHumanEval\tindel\t1\n",
    ),
    "nothing dropped": (
        plot_decontamination,
        ["--dropped", "ours", "nothing.parquet"],
        ["dropped nothing"],
        "source\tbenchmark\tmethod\tcount\n",
    ),
    "training": (
        plot_training,
        ["--metrics", "student", "metrics.parquet"],
        ["loss", "learning rate", "optimiser step"],
        "student\tstep\tloss\tlearning_rate\nstudent\t1\t2.0\t0.0\n",
    ),
    "scores": (
        plot_scores,
        ["--scores", "base", "scores.parquet", "--scores", "student", "scores.parquet"],
        ["champ", "gym", "average", "base", "student", "45"],
        "model\tbenchmark\tquestions\tsamples\tscore",
    ),
    "resources": (
        plot_resources,
        ["--folder", "usage"],
        ["train_student", "wall time"],
        "rule\tjobs\tseconds\tlongest_seconds\tprocessor_seconds\tmemory_mb\ntrain_student\t1\t12.5\t12.5\t20.0\t700.0\n",
    ),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_shows_its_numbers(name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program: ModuleType
    program, arguments, shown, table = PLOTS[name]
    monkeypatch.chdir(inputs)
    for number in (1, 2):
        outputs = ["--output", str(tmp_path / f"{number}.svg"), "--table", str(tmp_path / f"{number}.tsv")]
        assert program.main([*arguments, *outputs]) == 0
    svg = (tmp_path / "1.svg").read_text()
    texts = " | ".join("".join(element.itertext()) for element in ElementTree.fromstring(svg).iter())
    assert all(text in texts for text in shown), texts
    assert (tmp_path / "1.tsv").read_text().startswith(table)
    assert svg == (tmp_path / "2.svg").read_text()


def test_an_input_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["--output", str(tmp_path / "x.svg"), "--table", str(tmp_path / "x.tsv")]
    assert plot_funnel.main(["--stage", "sourced", str(tmp_path / "gone.parquet"), *outputs]) == 1
    assert "gone.parquet does not exist" in capsys.readouterr().err
    assert plot_resources.main(outputs) == 1
    assert "give --folder or --benchmark" in capsys.readouterr().err
