"""The plan is told before anything is booked."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from plan import main

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, more: dict[str, object]) -> int:
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(more))
    catalog = ["--set", f'{{"catalog": ["{ROOT / "catalog"}"]}}']
    table = ["--output", str(tmp_path / "plan.tsv")]
    return main(["--config", str(ROOT / "config.yaml"), str(own), *catalog, *table])


def test_the_default_recipe_is_told_stage_by_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {}) == 0
    printed = capsys.readouterr().out
    assert "recipe openthoughts3" in printed
    assert "1,200,000" in printed
    table = pl.read_csv(tmp_path / "plan.tsv", separator="\t")
    (whole,) = table.filter(pl.col("stage") == "total").to_dicts()
    assert whole["requests"] == table.filter(pl.col("stage") != "total")["requests"].sum()


def test_an_arm_is_told_by_what_it_adds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vary = {"base": "openthoughts3", "vary": {"training.seed": [1, 2]}}
    assert run(tmp_path, {"targets": ["seeds"], "experiments": {"seeds": vary}}) == 0
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith(("1 ", "2 "))}
    shared, added = (int(lines["2"][column]) for column in (1, 2))
    assert added == 2, "a student and its evaluation"
    assert shared > 30


def test_a_budget_below_the_estimate_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {"budget": {"usd": 10}}) == 0
    assert "the budget is $10" in capsys.readouterr().out


def test_a_mistaken_configuration_is_told_in_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {"targets": ["nothing"]}) == 1
    assert "there is no recipe or experiment 'nothing'" in capsys.readouterr().err


def test_what_is_known_of_an_arm_in_part_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vary = {"base": "openthoughts3", "vary": {"answers.teacher": ["qwq-32b", "deepseek-r1"]}}
    more = {"targets": ["teachers"], "gpu": "h100", "experiments": {"teachers": vary}}
    assert run(tmp_path, more) == 0
    printed = capsys.readouterr().out
    arms = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith(("qwq-32b ", "deepseek"))}
    assert [cell.endswith("+") for cell in arms["qwq-32b"][-2:]] == [False, False]
    assert arms["deepseek-r1"][-2] == "?", "its dollars have no price"
    assert arms["deepseek-r1"][-1].endswith("+"), "trainings on its answers"
    assert "At least $" in printed
    assert "At least 6," in printed
