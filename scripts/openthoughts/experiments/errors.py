"""Means, standard errors and paired comparisons of graded answers.

A question's score is the mean over its samples; a benchmark's score is the mean over its questions. Its standard error
is that of a mean over questions (their spread holds the noise of sampling too). Two models that answered the same
questions are compared by the paired bootstrap over questions (Efron and Tibshirani, *An Introduction to the Bootstrap*,
1993).
All scores are from 0 to 100.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from openthoughts.base.tables import SCORES

RESAMPLES = 10_000
PERCENT = 100.0

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error (null where one observation gives none)."""

    mean: float
    standard_error: float | None


@dataclass(frozen=True)
class Difference:
    """How much higher one arm scores than another: mean, its 95 % interval, and the two-sided bootstrap p-value."""

    mean: float
    low: float
    high: float
    p_value: float

    @property
    def outside_noise(self) -> bool:
        """Whether the 95 % interval leaves out zero."""
        return self.low > 0 or self.high < 0


def mean_over(values: Sequence[float] | Values) -> Estimate:
    """Mean and its standard error, s / sqrt(n) with s the sample standard deviation."""
    array = np.asarray(values, dtype=np.float64)
    error = float(array.std(ddof=1) / math.sqrt(array.size)) if array.size > 1 else None
    return Estimate(float(array.mean()), error)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of independent estimates, their errors propagated: sqrt(sum of squares) / n."""
    mean = sum(estimate.mean for estimate in estimates) / len(estimates)
    errors = [estimate.standard_error for estimate in estimates]
    if any(error is None for error in errors):
        return Estimate(mean, None)
    return Estimate(mean, math.sqrt(sum((error or 0.0) ** 2 for error in errors)) / len(estimates))


def question_scores(grades: pl.DataFrame) -> pl.DataFrame:
    """``benchmark``, ``question_id``, ``score`` (0 to 100): each question's mean over the samples that were graded.

    Samples of unknown outcome (null score) are left out, and so is a question with no other.
    """
    known = grades.filter(pl.col("score").is_not_null())
    means = known.group_by("benchmark", "question_id").agg(pl.col("score").mean() * PERCENT)
    return means.sort("benchmark", "question_id")


def benchmark_scores(grades: pl.DataFrame) -> pl.DataFrame:
    """The table SCORES of the table GRADES, a row for each benchmark in the order of its name."""
    rows = []
    means = question_scores(grades)
    for (benchmark,), graded in grades.sort("benchmark").group_by("benchmark", maintain_order=True):
        scores = means.filter(pl.col("benchmark") == benchmark)["score"].to_numpy()
        estimate = mean_over(scores) if scores.size else Estimate(math.nan, None)
        questions = graded["question_id"].n_unique()
        counts = {
            name: graded.filter(pl.col("outcome") == name).height for name in ("unparseable", "unknown", "failed")
        }
        rows.append(
            {
                "benchmark": benchmark,
                "questions": questions,
                "samples": graded.height // questions,
                "score": None if math.isnan(estimate.mean) else estimate.mean,
                "standard_error": estimate.standard_error,
                **counts,
            }
        )
    return pl.DataFrame(rows, schema=dict(SCORES))


def paired_bootstrap(
    arm: Mapping[str, Values], other: Mapping[str, Values], seed: int, resamples: int = RESAMPLES
) -> Difference:
    """How much higher ``arm`` scores than ``other`` on the same questions, averaged over benchmarks.

    Both map a benchmark to the scores of its runs and questions, shape (runs, questions), the questions in one order.
    Each resample draws questions with replacement within each benchmark (the same for both), and runs with replacement
    within each arm (the same for all benchmarks). The interval is of the 2.5 and 97.5 percentiles; the p-value is twice
    the smaller share of resamples on either side of zero, counting the observed one, at most 1.
    """
    generator = np.random.default_rng(seed)
    weights = [_run_weights(generator, next(iter(scores.values())).shape[0], resamples) for scores in (arm, other)]
    means = np.zeros(resamples)
    observed = 0.0
    for name in sorted(arm):
        observed += float(arm[name].mean() - other[name].mean()) / len(arm)
        questions = arm[name].shape[1]
        for start in range(0, resamples, 1000):
            rows = slice(start, min(start + 1000, resamples))
            differences = weights[0][rows] @ arm[name] - weights[1][rows] @ other[name]
            drawn = generator.integers(0, questions, size=differences.shape)
            means[rows] += np.take_along_axis(differences, drawn, axis=1).mean(axis=1) / len(arm)
    low, high = (float(value) for value in np.percentile(means, (2.5, 97.5)))
    rounding = 1e-9
    below = (int((means <= rounding).sum()) + 1) / (resamples + 1)
    above = (int((means >= -rounding).sum()) + 1) / (resamples + 1)
    return Difference(observed, low, high, min(1.0, 2 * min(below, above)))


def _run_weights(generator: np.random.Generator, runs: int, resamples: int) -> Values:
    """For each resample the weight of each run, drawn with replacement; shape (resamples, runs)."""
    counts = generator.multinomial(runs, np.full(runs, 1 / runs), size=resamples)
    return np.asarray(counts / runs, dtype=np.float64)
