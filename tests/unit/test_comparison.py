"""Arms of an experiment: a known difference is found, equal arms are noise, and the paragraph says what was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import GRADES, SCORES, write_table
from openthoughts.experiments.comparison import Arm, compare, difference, summary
from openthoughts.experiments.errors import benchmark_scores

SIZES = {"easy": 100, "hard": 60}


def arm(folder: Path, name: str, seeds: list[int], gain: float = 0.0, sizes: Mapping[str, int] = SIZES) -> Arm:
    """An arm whose accuracy on every question is that of the question and ``gain``; a run for each seed."""
    scores, grades = [], []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        rows = []
        for benchmark, count in sizes.items():
            accuracies = np.random.default_rng(count).uniform(0, 0.7, size=count)
            for number, accuracy in enumerate(accuracies):
                for sample in range(4):
                    right = float(generator.random() < accuracy + gain)
                    outcome = "correct" if right else "wrong"
                    rows.append((benchmark, question_id(f"{benchmark} {number}"), sample, "1", right, outcome))
        table = pl.DataFrame(rows, schema=dict(GRADES), orient="row")
        stem = folder / f"{name}-{seed}"
        write_table(table, stem.with_suffix(".grades"), GRADES)
        write_table(benchmark_scores(table), stem.with_suffix(".scores"), SCORES)
        grades.append(stem.with_suffix(".grades"))
        scores.append(stem.with_suffix(".scores"))
    return Arm.read(name, scores, grades)


def test_a_real_difference_is_outside_the_noise_and_equal_arms_are_inside(tmp_path: Path) -> None:
    arms = [arm(tmp_path, "base", [1]), arm(tmp_path, "better", [2], gain=0.15), arm(tmp_path, "same", [3])]
    table = compare(arms, "base", {}, seed=42)
    averages = {row["arm"]: row for row in table.filter(pl.col("benchmark") == "average").iter_rows(named=True)}
    assert averages["base"]["difference"] is None
    assert averages["better"]["low"] > 5
    assert averages["better"]["p_value"] < 0.001
    assert averages["same"]["low"] < 0 < averages["same"]["high"]
    text = summary("an ablation", arms, table, "base", seed=42)
    assert text.startswith("# an ablation\n\nOf 3 arms, **better** scores best")
    assert "the next best: outside the noise (p = " in text
    assert "same is " not in text or "inside the noise (p = " in text


def test_the_average_is_over_benchmarks_with_its_error(tmp_path: Path) -> None:
    one = arm(tmp_path, "only", [1])
    table = compare([one], "only", {"all": ["easy", "hard"]}, seed=1)
    rows = {row["benchmark"]: row for row in table.iter_rows(named=True)}
    assert list(rows) == ["average", "all", "easy", "hard"]
    assert rows["average"]["score"] == pytest.approx((rows["easy"]["score"] + rows["hard"]["score"]) / 2)
    errors = rows["easy"]["standard_error"], rows["hard"]["standard_error"]
    assert rows["average"]["standard_error"] == pytest.approx(np.hypot(*errors) / 2)
    assert (rows["average"]["questions"], rows["average"]["samples"], rows["average"]["runs"]) == (160, 4, 1)
    assert rows["all"]["score"] == rows["average"]["score"]
    assert "**only** scores best" in summary("x", [one], table, "only", seed=1)


def test_several_runs_are_averaged_and_their_spread_is_part_of_the_error(tmp_path: Path) -> None:
    runs = arm(tmp_path, "runs", [1, 2, 3])
    assert runs.counts(["easy"])["runs"] == 3
    singles = [arm(tmp_path, f"single {seed}", [seed]).estimate("easy") for seed in (1, 2, 3)]
    estimate = runs.estimate("easy")
    assert estimate.mean == pytest.approx(np.mean([single.mean for single in singles]))
    spread = np.std([single.mean for single in singles], ddof=1) / np.sqrt(3)
    assert estimate.standard_error is not None
    assert estimate.standard_error > spread


def test_only_questions_that_both_answered_are_compared(tmp_path: Path) -> None:
    whole, part = arm(tmp_path, "whole", [1]), arm(tmp_path, "part", [1], sizes={"easy": 100, "hard": 60})
    fewer = Arm("fewer", [part.grades[0].filter(pl.col("question_id") != question_id("easy 0"))], part.scores)
    assert difference(whole, fewer, ["easy"], seed=1).mean == 0.0


def test_arms_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    one, other = arm(tmp_path, "one", [1]), arm(tmp_path, "other", [1], sizes={"easy": 100})
    with pytest.raises(UserError, match="evaluated on different benchmarks"):
        compare([one, other], "one", {}, seed=1)
    with pytest.raises(UserError, match="no arm 'two' to compare to: use one of one"):
        compare([one], "two", {}, seed=1)
    with pytest.raises(UserError, match="the group g names medium"):
        compare([one], "one", {"g": ["medium"]}, seed=1)
    strangers = Arm("strangers", [one.grades[0].with_columns(question_id=pl.col("question_id") + "x")], one.scores)
    with pytest.raises(UserError, match="share no question"):
        compare([one, strangers], "one", {}, seed=1)
