"""Grade a table of completions against the benchmarks they answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.options import did_you_mean
from openthoughts.base.tables import EVALUATION_COMPLETIONS, GRADES, QUESTIONS, read_table
from openthoughts.grading import Task, grade_all
from openthoughts.grading.graders import GRADERS
from openthoughts.grading.sandbox.sandbox import unavailable


@dataclass(frozen=True)
class BenchmarkQuestions:
    """One benchmark: its name, its questions and how they are graded."""

    name: str
    questions: Path
    grader: str


def grade_completions(
    completions: Path,
    benchmarks: Sequence[BenchmarkQuestions],
    contained: bool = True,
    judgements: Sequence[Path] = (),
) -> pl.DataFrame:
    """The table GRADES of all completions (EVALUATION_COMPLETIONS), sorted by benchmark, question and sample.

    ``judgements``: tables of the same form with what judges said of the answers. ``contained``: run programs in a
    sandbox only. Raises ``UserError`` where there can be none, for an unknown grader, a question without what its
    grader needs, and answers that are missing, uneven or of no listed benchmark.
    """
    for benchmark in benchmarks:
        if benchmark.grader not in GRADERS:
            raise UserError(f"there is no grader {benchmark.grader!r}{did_you_mean(benchmark.grader, GRADERS)}.")
    if contained and any(GRADERS[benchmark.grader].runs_programs for benchmark in benchmarks):
        _check_sandbox()
    answers = read_table(completions, EVALUATION_COMPLETIONS)
    strangers = sorted(set(answers["benchmark"]) - {benchmark.name for benchmark in benchmarks})
    if strangers:
        raise UserError(f"{completions} has answers to the benchmark {strangers[0]}: name it with --benchmark.")
    joined = pl.concat([_answers_of(benchmark, answers, completions) for benchmark in benchmarks])
    joined = joined.sort("benchmark", "question_id", "sample")
    joined = _with_judgements(joined, judgements)
    columns = joined.select("grader", "text", "reference_answer", "metadata", "question", "judgement")
    tasks = (
        Task(grader, text, reference, metadata, question, contained, judgement)
        for grader, text, reference, metadata, question, judgement in columns.iter_rows()
    )
    grades = list(grade_all(tasks, {benchmark.grader for benchmark in benchmarks}))
    return (
        joined.select("benchmark", "question_id", "sample")
        .with_columns(
            answer=pl.Series([grade.answer for grade in grades], dtype=pl.String),
            score=pl.Series([grade.score for grade in grades], dtype=pl.Float64),
            outcome=pl.Series([grade.outcome for grade in grades], dtype=pl.String),
        )
        .select(*GRADES)
    )


def _with_judgements(answers: pl.DataFrame, judgements: Sequence[Path]) -> pl.DataFrame:
    """The answers with what a judge said of each in the column ``judgement`` (null: nothing)."""
    key = ["benchmark", "question_id", "sample"]
    tables = [read_table(path, EVALUATION_COMPLETIONS).select(*key, judgement="text") for path in judgements]
    if not tables:
        return answers.with_columns(judgement=pl.lit(None, pl.String))
    return answers.join(pl.concat(tables), on=key, how="left", maintain_order="left")


def _check_sandbox() -> None:
    reason = unavailable()
    if reason is not None:
        raise UserError(
            f"this machine cannot run untrusted programs safely ({reason}): grade where the kernel allows unprivileged "
            "user namespaces, or give --without-sandbox to run them with all that your user may do."
        )


def _answers_of(benchmark: BenchmarkQuestions, answers: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The answers to one benchmark beside their questions; each question must have the same samples."""
    questions = read_table(benchmark.questions, QUESTIONS).sort("source", "source_row")
    questions = questions.unique("question_id", keep="first", maintain_order=True)
    _check_questions(benchmark, questions)
    own = answers.filter(pl.col("benchmark") == benchmark.name)
    samples = own["sample"].n_unique()
    expected = questions.select("question_id").join(own.select("sample").unique(), how="cross")
    missing = expected.join(own, on=["question_id", "sample"], how="anti")
    if own.is_empty() or not missing.is_empty() or own.height != questions.height * samples:
        raise UserError(
            f"{path} has {own.height} answers to the {questions.height} questions of {benchmark.name}, "
            "not the same number for each: run sample_evaluation again."
        )
    columns = questions.select("question_id", "reference_answer", "metadata", "question")
    return own.join(columns, on="question_id", how="inner").with_columns(grader=pl.lit(benchmark.grader))


def _check_questions(benchmark: BenchmarkQuestions, questions: pl.DataFrame) -> None:
    """Raise ``UserError`` for a question without what the benchmark's grader needs."""
    grader = GRADERS[benchmark.grader]
    without: dict[str, pl.DataFrame] = {}
    if grader.needs_reference:
        without["reference answer"] = questions.filter(pl.col("reference_answer").is_null())
    for key in grader.metadata:
        held = pl.Series([key in json.loads(text or "{}") for text in questions["metadata"]], dtype=pl.Boolean)
        without[f"{key!r} in its metadata"] = questions.filter(~held)
    for what, rows in without.items():
        if not rows.is_empty():
            raise UserError(
                f"{benchmark.questions}: question {rows['question_id'][0]} has no {what}, which the "
                f"grader {benchmark.grader} needs: choose another grader or leave the question out."
            )
