"""Standard errors and the paired bootstrap, against numbers worked out by hand and by simulation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from openthoughts.base.tables import GRADES
from openthoughts.experiments.errors import (
    Estimate,
    average,
    benchmark_scores,
    mean_over,
    paired_bootstrap,
    question_scores,
)


def grades(rows: list[tuple[str, str, int, float | None, str]]) -> pl.DataFrame:
    columns = ["benchmark", "question_id", "sample", "score", "outcome"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(answer=pl.lit("1")).select(*GRADES)


def test_standard_error_by_hand() -> None:
    estimate = mean_over([0.0, 100.0, 100.0, 0.0])
    assert estimate.mean == 50.0
    assert estimate.standard_error == pytest.approx(np.sqrt(10000 / 3) / 2)
    assert mean_over([3.0]) == Estimate(3.0, None)


def test_an_average_propagates_errors() -> None:
    assert average([Estimate(10.0, 3.0), Estimate(30.0, 4.0)]) == Estimate(20.0, 2.5)
    assert average([Estimate(10.0, 3.0), Estimate(30.0, None)]) == Estimate(20.0, None)


def test_scores_are_means_over_questions_of_means_over_samples() -> None:
    table = grades(
        [
            ("b", "q1", 0, 1.0, "correct"),
            ("b", "q1", 1, 0.0, "wrong"),
            ("b", "q2", 0, 1.0, "correct"),
            ("b", "q2", 1, None, "unknown"),
            ("b", "q3", 0, 0.0, "unparseable"),
            ("b", "q3", 1, 0.0, "failed"),
            ("a", "q1", 0, 1.0, "correct"),
        ]
    )
    [first, second] = benchmark_scores(table).rows(named=True)
    assert first == {
        "benchmark": "a",
        "questions": 1,
        "samples": 1,
        "score": 100.0,
        "standard_error": None,
        "unparseable": 0,
        "unknown": 0,
        "failed": 0,
    }
    assert second["score"] == pytest.approx((50 + 100 + 0) / 3)
    assert second["standard_error"] == pytest.approx(np.std([50, 100, 0], ddof=1) / np.sqrt(3))
    assert (second["unparseable"], second["unknown"], second["failed"], second["samples"]) == (1, 1, 1, 2)


def test_a_benchmark_with_nothing_known_has_no_score() -> None:
    [row] = benchmark_scores(grades([("b", "q", 0, None, "unknown")])).rows(named=True)
    assert (row["score"], row["standard_error"], row["unknown"]) == (None, None, 1)
    assert question_scores(grades([("b", "q", 0, None, "unknown")])).is_empty()


def test_the_bootstrap_interval_has_the_width_of_the_normal_one() -> None:
    generator = np.random.default_rng(5)
    arm, other = (generator.normal(mean, 10, size=(1, 400)) for mean in (52, 50))
    found = paired_bootstrap({"b": arm}, {"b": other}, seed=1)
    differences = (arm - other)[0]
    assert found.mean == pytest.approx(differences.mean())
    half = 1.96 * differences.std(ddof=1) / np.sqrt(differences.size)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.1)


def test_the_bootstrap_is_deterministic_and_antisymmetric() -> None:
    generator = np.random.default_rng(6)
    arm, other = generator.random((1, 50)), generator.random((1, 50))
    once, again = (paired_bootstrap({"b": arm}, {"b": other}, seed=3) for _ in range(2))
    assert once == again
    back = paired_bootstrap({"b": other}, {"b": arm}, seed=3)
    assert back.mean == -once.mean
    assert back.p_value == pytest.approx(once.p_value)


def test_equal_arms_do_not_differ() -> None:
    scores = {"b": np.array([[0.0, 100.0, 50.0]])}
    found = paired_bootstrap(scores, scores, seed=1)
    assert (found.mean, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert not found.outside_noise


def test_pairing_finds_what_lies_below_the_spread_of_questions() -> None:
    difficulty = np.random.default_rng(7).uniform(0, 100, size=300)
    better = {"b": (difficulty + np.random.default_rng(8).normal(2, 5, size=300))[None, :]}
    worse = {"b": difficulty[None, :]}
    assert mean_over(difficulty).standard_error > 1.5  # type: ignore[operator]
    found = paired_bootstrap(better, worse, seed=1)
    assert found.outside_noise
    assert found.p_value < 0.001


def test_false_alarms_are_about_as_frequent_as_promised() -> None:
    generator = np.random.default_rng(11)
    alarms = 0
    for seed in range(300):
        arm, other = generator.integers(0, 2, size=(2, 1, 100)) * 100.0
        alarms += paired_bootstrap({"b": arm}, {"b": other}, seed, resamples=1000).outside_noise
    assert 3 <= alarms <= 30  # 5 % of 300 is 15


def test_runs_that_disagree_widen_the_interval() -> None:
    generator = np.random.default_rng(9)
    base = generator.random((1, 200)) * 100
    steady = np.vstack([base + 3, base + 3])
    shaky = np.vstack([base - 7, base + 13])
    assert paired_bootstrap({"b": steady}, {"b": base}, seed=1).outside_noise
    found = paired_bootstrap({"b": shaky}, {"b": base}, seed=1)
    assert found.mean == pytest.approx(3)
    assert not found.outside_noise
