"""The arms of an experiment side by side: scores with errors, differences to one arm, and a paragraph that says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.tables import GRADES, SCORES, Schema, read_table
from openthoughts.experiments.errors import (
    Difference,
    Estimate,
    Values,
    average,
    mean_over,
    paired_bootstrap,
    question_scores,
)

AVERAGE = "average"

COMPARISON: Schema = {
    "arm": pl.String,
    "benchmark": pl.String,  # a benchmark, a group of benchmarks, or "average"
    "runs": pl.Int64,  # draws of data and training seeds
    "questions": pl.Int64,
    "samples": pl.Int64,  # per question and run; null for a group whose benchmarks differ
    "answers": pl.Int64,  # in all: questions, samples and runs
    "score": pl.Float64,  # 0 to 100
    "standard_error": pl.Float64,
    "difference": pl.Float64,  # to the arm compared to; null for that arm
    "low": pl.Float64,  # 95 % interval of the difference
    "high": pl.Float64,
    "p_value": pl.Float64,
    "published": pl.Float64,  # the score that was published for this arm
    "published_error": pl.Float64,  # its standard error
}

Published = Mapping[str, Mapping[str, Sequence[float]]]
"""Arm -> benchmark, group or average -> the published score and, where it is given, its standard error."""


@dataclass(frozen=True)
class Arm:
    """One arm: its name, and the tables GRADES and SCORES of each of its runs."""

    name: str
    grades: Sequence[pl.DataFrame]
    scores: Sequence[pl.DataFrame]

    @staticmethod
    def read(name: str, scores: Sequence[Path], grades: Sequence[Path]) -> Arm:
        """Read an arm's runs; raises ``UserError`` where they are not of the same benchmarks."""
        arm = Arm(
            name,
            [read_table(path, GRADES) for path in grades],
            [read_table(path, SCORES).sort("benchmark") for path in scores],
        )
        for path, table in zip(scores, arm.scores, strict=True):
            if table["benchmark"].to_list() != arm.benchmarks:
                raise UserError(f"{path} is not of the same benchmarks as the other runs of the arm {name}.")
            if table["score"].null_count():
                raise UserError(f"{path} has a benchmark without a score: no answer to it could be graded.")
        return arm

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks in the order of their names."""
        return self.scores[0]["benchmark"].to_list()

    @cached_property
    def by_question(self) -> pl.DataFrame:
        """``benchmark``, ``question_id`` and a column for each run: the question's score from 0 to 100."""
        tables = [
            question_scores(grades).rename({"score": f"run_{number}"}) for number, grades in enumerate(self.grades)
        ]
        joined = tables[0]
        for table in tables[1:]:
            joined = joined.join(table, on=["benchmark", "question_id"], how="inner")
        return joined.sort("benchmark", "question_id")

    def estimate(self, benchmark: str) -> Estimate:
        """The arm's score on a benchmark.

        The error of the mean over questions, and with several runs the spread of their scores, added in quadrature.
        """
        questions = self.by_question.filter(pl.col("benchmark") == benchmark).select(pl.mean_horizontal("^run_.*$"))
        over_questions = mean_over(questions.to_series().to_numpy())
        runs = [table.filter(pl.col("benchmark") == benchmark)["score"].item() for table in self.scores]
        if len(runs) == 1 or over_questions.standard_error is None:
            return Estimate(sum(runs) / len(runs), over_questions.standard_error)
        over_runs = mean_over(runs).standard_error or 0.0
        return Estimate(sum(runs) / len(runs), math.hypot(over_questions.standard_error, over_runs))

    def counts(self, benchmarks: Sequence[str]) -> dict[str, int | None]:
        """Runs, questions and samples per question (null where the benchmarks differ) of some benchmarks."""
        rows = self.scores[0].filter(pl.col("benchmark").is_in(benchmarks))
        samples = rows["samples"].unique()
        return {
            "runs": len(self.scores),
            "questions": int(rows["questions"].sum()),
            "samples": samples.item() if len(samples) == 1 else None,
            "answers": sum(
                int((table["questions"] * table["samples"]).filter(table["benchmark"].is_in(benchmarks)).sum())
                for table in self.scores
            ),
        }


def difference(arm: Arm, other: Arm, benchmarks: Sequence[str], seed: int) -> Difference:
    """The paired bootstrap between two arms over the questions that both answered; deterministic in ``seed``."""
    keys = arm.by_question.select("benchmark", "question_id")
    keys = keys.join(other.by_question.select("benchmark", "question_id"), on=["benchmark", "question_id"])
    matrices: list[Mapping[str, Values]] = []
    for side in (arm, other):
        rows = side.by_question.join(keys, on=["benchmark", "question_id"], how="semi")
        by_benchmark = {
            name: np.ascontiguousarray(
                rows.filter(pl.col("benchmark") == name).sort("question_id").select("^run_.*$").to_numpy().T
            )
            for name in benchmarks
        }
        matrices.append(by_benchmark)
    for name, scores in matrices[0].items():
        if scores.shape[1] == 0:
            raise UserError(f"the arms {arm.name} and {other.name} share no question of the benchmark {name}.")
    return paired_bootstrap(matrices[0], matrices[1], seed)


def compare(
    arms: Sequence[Arm],
    compare_to: str,
    groups: Mapping[str, Sequence[str]],
    seed: int,
    averaged: Sequence[str] | None = None,
    published: Published | None = None,
) -> pl.DataFrame:
    """The table COMPARISON: for each arm, in order, the average, the groups and the benchmarks.

    The average is over the benchmarks ``averaged`` (None: all); ``published`` are figures to set beside ours. Raises
    ``UserError`` where ``compare_to`` is no arm, the arms are not of the same benchmarks, or a group names a benchmark
    that is not there.
    """
    by_name = {arm.name: arm for arm in arms}
    if compare_to not in by_name:
        raise UserError(f"there is no arm {compare_to!r} to compare to: use one of {', '.join(by_name)}.")
    benchmarks = arms[0].benchmarks
    for arm in arms[1:]:
        if arm.benchmarks != benchmarks:
            raise UserError(f"the arms {arms[0].name} and {arm.name} were evaluated on different benchmarks.")
    for group, members in groups.items():
        strangers = sorted(set(members) - set(benchmarks))
        if strangers:
            raise UserError(f"the group {group} names {strangers[0]}, which is not a benchmark of the arms.")
    panels = {AVERAGE: averaged or benchmarks, **groups, **{name: [name] for name in benchmarks}}
    rows = []
    for arm in arms:
        for panel, members in panels.items():
            estimate = average([arm.estimate(name) for name in members])
            row: dict[str, object] = {"arm": arm.name, "benchmark": panel, **arm.counts(members)}
            row |= {"score": estimate.mean, "standard_error": estimate.standard_error}
            if arm.name != compare_to:
                found = difference(arm, by_name[compare_to], members, seed)
                row |= {"difference": found.mean, "low": found.low, "high": found.high, "p_value": found.p_value}
            figures = (published or {}).get(arm.name, {}).get(panel, ())
            row |= dict(zip(("published", "published_error"), figures, strict=False))
            rows.append(row)
    return pl.DataFrame(rows, schema=dict(COMPARISON))


def with_points(table: pl.DataFrame, points: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """The rows of arms that lie on a curve, with ``x`` and ``curve``; an arm on none is a level of its own (null x)."""
    arms = table["arm"].to_list()
    x = pl.Series("x", [float(points[arm][0]) if arm in points else None for arm in arms], dtype=pl.Float64)
    curve = pl.Series("curve", [points[arm][1] if arm in points else arm for arm in arms], dtype=pl.String)
    return table.with_columns(x, curve)


def summary(
    experiment: str,
    arms: Sequence[Arm],
    table: pl.DataFrame,
    compare_to: str,
    seed: int,
    averaged: Sequence[str] | None = None,
    about: str = "",
    source: str = "",
) -> str:
    """A Markdown paragraph written from the numbers: the best arm, by how much, inside or outside the noise.

    ``about`` is what the experiment asks, ``source`` where the published figures of the table stand.
    """
    averages = table.filter(pl.col("benchmark") == AVERAGE).sort("score", descending=True, maintain_order=True)
    ranking = averages["arm"].to_list()
    best = averages.row(0, named=True)
    by_name = {arm.name: arm for arm in arms}
    benchmarks = list(averaged or arms[0].benchmarks)
    sentences = [
        f"Of {_count(len(arms), 'arm')}, **{best['arm']}** scores best: {_score(best)} on average over "
        f"{_count(len(benchmarks), 'benchmark')} ({_count(best['questions'], 'question')}, {_runs(best['runs'])})."
    ]
    if len(ranking) > 1:
        found = difference(by_name[ranking[0]], by_name[ranking[1]], benchmarks, seed)
        sentences.append(f"It is {_points(found)} above {ranking[1]}, the next best: {_verdict(found)}.")
    for row in averages.filter(pl.col("difference").is_not_null()).iter_rows(named=True):
        if {row["arm"], compare_to} == set(ranking[:2]):
            continue  # already said
        found = Difference(row["difference"], row["low"], row["high"], row["p_value"])
        side = "above" if found.mean >= 0 else "below"
        sentences.append(f"{row['arm']} is {_points(found)} {side} {compare_to}: {_verdict(found)}.")
    sentences.append(_by_benchmark(table, arms[0].benchmarks, compare_to))
    sentences.append(_beside_published(averages, source))
    sentences.append(
        "The errors are standard errors over questions; the intervals are 95 % intervals of a paired bootstrap over "
        "the same questions, not corrected for the number of comparisons."
    )
    paragraphs = [f"# {experiment}", about, " ".join(sentence for sentence in sentences if sentence)]
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def _beside_published(averages: pl.DataFrame, source: str) -> str:
    """How the averages lie beside the published ones: the best arm of each, and the order of pairs."""
    both = averages.drop_nulls("published")
    if both.is_empty():
        return ""
    best = both.sort("published", descending=True, maintain_order=True).row(0, named=True)
    error = "" if best["published_error"] is None else f" ± {best['published_error']:.1f}"
    text = f"Published ({source}): {best['arm']} is best there, with {best['published']:.1f}{error}"
    scores = list(both.select("score", "published").iter_rows())
    pairs = [
        (score - other) * (published - other_published) > 0
        for number, (score, published) in enumerate(scores)
        for other, other_published in scores[number + 1 :]
        if published != other_published
    ]
    return (
        f"{text}; of {_count(len(pairs), 'pair')} of arms, {sum(pairs)} are in the same order here."
        if pairs
        else f"{text}."
    )


def _by_benchmark(table: pl.DataFrame, benchmarks: Sequence[str], compare_to: str) -> str:
    """Which single benchmarks tell an arm from the one compared to."""
    telling = table.filter(pl.col("benchmark").is_in(benchmarks) & ((pl.col("low") > 0) | (pl.col("high") < 0)))
    compared = table.filter(pl.col("benchmark").is_in(benchmarks) & pl.col("difference").is_not_null())
    if compared.is_empty() or len(benchmarks) == 1:
        return ""
    if telling.is_empty():
        return f"On no single benchmark does an arm differ from {compare_to} by more than the noise."
    found = [f"{row['arm']} on {row['benchmark']} ({row['difference']:+.1f})" for row in telling.iter_rows(named=True)]
    return f"Single benchmarks where an arm differs from {compare_to} by more than the noise: {', '.join(found)}."


def _score(row: Mapping[str, float | None]) -> str:
    error = row["standard_error"]
    return f"{row['score']:.1f}" + ("" if error is None else f" ± {error:.1f}")


def _points(found: Difference) -> str:
    low, high = (found.low, found.high) if found.mean >= 0 else (-found.high, -found.low)
    return f"{abs(found.mean):.1f} points ({low:.1f} to {high:.1f})"


def _verdict(found: Difference) -> str:
    return f"{'outside' if found.outside_noise else 'inside'} the noise (p = {found.p_value:.2g})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _runs(number: int) -> str:
    return "one run" if number == 1 else f"{number} runs"
