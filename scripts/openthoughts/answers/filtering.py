"""Filter the answers to questions: keep those that a filter of ``openthoughts.answers.filters`` chooses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from polars.expr.whenthen import ChainedThen

from openthoughts.answers.filters import KEYS, AnswerFilter, configured_filter
from openthoughts.answers.filters._ranking import drawn_ranks
from openthoughts.base.cli import UserError
from openthoughts.base.reasoning import is_empty_answer
from openthoughts.base.streams import TableWriter, read_batches
from openthoughts.base.tables import (
    ASSESSMENTS,
    COMPLETIONS,
    DRAWN,
    DROPPED,
    MEASURES,
    Schema,
    read_table,
    scan_table,
    write_table,
)


def keep_first(verdicts: pl.DataFrame, chosen: AnswerFilter) -> pl.DataFrame:
    """``verdicts`` of a filter in which, of the answers that passed, only as many are kept as its options ask for.

    The first by ``place`` where there is one, else by the rank of a draw.
    """
    per_question, in_all = chosen.keep_per_question, chosen.keep
    if per_question is None and in_all is None:
        return verdicts
    if "place" not in verdicts.columns:
        ranked = verdicts.with_columns(drawn_ranks(verdicts, chosen.seed)).sort("rank", *KEYS)
        verdicts = ranked.with_columns(place=pl.int_range(pl.len()))
    ordered = verdicts.sort("place")
    reason = pl.col("reason")
    if per_question is not None:
        passed = reason.is_null().cast(pl.Int64).cum_sum().over("question_id", "occurrence")
        beyond = reason.is_null() & (passed > per_question)
        said = pl.lit(f"not among the {per_question} of its question")
        ordered = ordered.with_columns(reason=pl.when(beyond).then(said).otherwise(reason))
    if in_all is not None:
        beyond = reason.is_null() & (reason.is_null().cast(pl.Int64).cum_sum() > in_all)
        ordered = ordered.with_columns(
            reason=pl.when(beyond).then(pl.lit(f"not among the {in_all} in all")).otherwise(reason)
        )
    return ordered


EMPTY = "empty answer"
"""Why an answer is dropped that says nothing but, at most, its thinking."""

FILTERED: Schema = {**COMPLETIONS, "occurrence": pl.Int64}
"""Filtered answers: completions with a text, each with the row of its question."""


def filter_answers(
    questions: Path,
    answers: Path,
    name: str,
    options: Mapping[str, Any],
    output: Path,
    dropped: Path,
    evidence: Mapping[str, Path] | None = None,
) -> tuple[int, int]:
    """Keep the answers that filter ``name`` chooses; returns how many were kept and dropped.

    ``questions`` is a DRAWN table, ``answers`` the COMPLETIONS of the same number of samples for each of its rows,
    ``evidence`` the tables ``measured`` (MEASURES) and ``assessed`` (ASSESSMENTS) for the filters that need one.
    Failed completions and empty answers are always dropped; an answer whose thinking the token limit cut is none of
    them. Output (FILTERED) in the order of question id and sample; ``dropped`` is
    DROPPED with ``sample``.
    """
    chosen = configured_filter(name, options)
    beside = _evidence(name, chosen.needs, evidence or {})
    drawn = read_table(questions, DRAWN, ("question_id", "occurrence", "source", "source_row", "reference_answer"))
    samples = samples_per_row(drawn.height, scan_table(answers, COMPLETIONS).select(pl.len()).collect().item(), answers)
    measured = [
        chosen.measure(_beside(batch.filter(pl.col("text").is_not_null()), beside))
        for batch in _answers(answers, drawn, samples)
    ]
    if not measured:
        return _write_nothing(output, dropped)
    verdicts = keep_first(chosen.decide(pl.concat(measured)), chosen)
    verdicts = verdicts.select("question_id", "sample", "reason")
    lost = []
    with TableWriter(output, FILTERED) as writer:
        for batch in _answers(answers, drawn, samples):
            assessed = batch.join(verdicts, on=["question_id", "sample"], how="left", maintain_order="left")
            assessed = assessed.with_columns(reason=_why_no_answer().otherwise(pl.col("reason")))
            writer.write(assessed.filter(pl.col("reason").is_null()))
            lost.append(assessed.filter(pl.col("reason").is_not_null()).select(_DROPPED_COLUMNS))
        written = writer.rows
    gone = pl.concat(lost)
    write_table(gone, dropped, DROPPED)
    for reason, count in gone["reason"].str.replace(r":.*", "").value_counts(sort=True).iter_rows():
        logging.info("dropped %d: %s", count, reason)
    return written, gone.height


def _why_no_answer() -> ChainedThen:
    """The reason for which an answer is dropped whatever the filter."""
    failed = pl.concat_str(pl.lit("failed: "), pl.col("error").fill_null("no text"))
    return pl.when(pl.col("error") == EMPTY).then(pl.lit(EMPTY)).when(pl.col("text").is_null()).then(failed)


def _evidence(name: str, needs: str | None, evidence: Mapping[str, Path]) -> pl.DataFrame | None:
    """The table that a filter needs, its columns named after it; raises ``UserError`` where it is not given."""
    if needs is None:
        return None
    if evidence.get(needs) is None:
        raise UserError(f"the answer filter {name!r} needs --{needs}: give the table of that stage.")
    table = read_table(evidence[needs], {"measured": MEASURES, "assessed": ASSESSMENTS}[needs])
    if needs == "measured":
        table = table.with_columns(pl.col("answer").str.head(200))
    return table.rename({column: f"{needs}_{column}" for column in table.columns if column not in KEYS})


def _beside(batch: pl.DataFrame, table: pl.DataFrame | None) -> pl.DataFrame:
    """A batch of answers with the columns of ``table``."""
    if table is None:
        return batch
    return batch.join(table, on=["question_id", "sample"], how="left", maintain_order="left")


def samples_per_row(rows: int, answers: int, path: Path) -> int:
    """How many answers each drawn row has; raises ``UserError`` where they do not come out even."""
    if rows == 0 and answers == 0:
        return 1
    if rows == 0 or answers == 0 or answers % rows:
        raise UserError(
            f"{path} has {answers} answers for {rows} drawn questions: run merge_answers on all shards again."
        )
    return answers // rows


def _answers(path: Path, drawn: pl.DataFrame, samples: int) -> Iterator[pl.DataFrame]:
    """Batches of answers in the order of question id and sample, each with its drawn row."""
    keys = scan_table(path, COMPLETIONS).select("question_id", "sample").collect()
    if keys.equals(keys.sort("question_id", "sample")):
        batches = read_batches(path, COMPLETIONS, list(COMPLETIONS))
    else:
        batches = iter([scan_table(path, COMPLETIONS).select(*COMPLETIONS).sort("question_id", "sample").collect()])
    for batch in batches:
        empty = is_empty_answer(pl.col("text"), pl.col("finish_reason"), pl.col("error"))
        numbered = batch.with_columns(
            occurrence=pl.col("sample") // samples,
            text=pl.when(~empty).then(pl.col("text")),
            error=pl.when(empty).then(pl.lit(EMPTY)).otherwise(pl.col("error")),
        )
        joined = numbered.join(drawn, on=["question_id", "occurrence"], how="left", maintain_order="left")
        strangers = joined.filter(pl.col("source").is_null())
        if not strangers.is_empty():
            stranger = strangers.row(0, named=True)
            raise UserError(
                f"{path} answers question {stranger['question_id']} (sample {stranger['sample']}), "
                "which was not drawn: run merge_answers again."
            )
        yield joined


_DROPPED_COLUMNS = [
    *[pl.col(name) for name in ("question_id", "source", "source_row")],
    pl.lit("filter_answers").alias("stage"),
    *[pl.col(name) for name in ("reason", "sample")],
]


def _write_nothing(output: Path, dropped: Path) -> tuple[int, int]:
    with TableWriter(output, FILTERED):
        pass
    write_table(pl.DataFrame(schema={**DROPPED, "sample": pl.Int64}), dropped, DROPPED)
    return 0, 0
