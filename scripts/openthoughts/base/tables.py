"""The tables that the stages exchange: their columns, and how they are read, written and checked.

Every table is a Parquet file (zstd), written to a temporary file, synced and renamed, so that a file that exists is
whole. Rows are in an order that depends on the data alone: the same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.files import atomic_path as atomic_path
from openthoughts.base.files import write_text as write_text

Schema = Mapping[str, pl.DataType | type[pl.DataType]]

QUESTIONS: Schema = {
    "question_id": pl.String,  # 32 hex digits of BLAKE2b of the text
    "question": pl.String,
    "domain": pl.String,  # math, code, science
    "source": pl.String,  # name of the catalog entry
    "source_row": pl.String,  # key of the row in its source
    "reference_answer": pl.String,  # nullable
    "metadata": pl.String,  # JSON object
}
"""A question of a source or benchmark. (``source``, ``source_row``) is unique; a question may occur in several rows."""

LABELLED: Schema = {**QUESTIONS, "label": pl.Float64}
"""Selected questions: ``label`` is the value they were selected by (null where the selection used none)."""

DRAWN: Schema = {**LABELLED, "occurrence": pl.Int64}
"""Drawn questions: ``occurrence`` (from 0) numbers the rows of one question."""

COMPLETIONS: Schema = {
    "question_id": pl.String,
    "sample": pl.Int64,
    "text": pl.String,  # null where the request failed for good
    "finish_reason": pl.String,  # stop, length, ...; null with an error
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "model": pl.String,
    "seed": pl.Int64,
    "error": pl.String,  # null where there is a text
}
"""One answer of one model. (``question_id``, ``sample``) is unique within a stage."""

EVALUATION_COMPLETIONS: Schema = {"benchmark": pl.String, **COMPLETIONS}

LABELS: Schema = {
    "question_id": pl.String,
    "value": pl.Float64,  # null where the answer could not be read
    "rationale": pl.String,
    "error": pl.String,  # why the value is null
}

ASSESSMENTS: Schema = {
    "question_id": pl.String,
    "sample": pl.Int64,
    "value": pl.Float64,  # a score, or 1 (right) and 0 (wrong); null where it could not be read
    "rationale": pl.String,
    "error": pl.String,  # why the value is null
}
"""What a classifier or a model says of each answer that came."""

MEASURES: Schema = {
    "question_id": pl.String,
    "sample": pl.Int64,
    "answer": pl.String,  # the final answer; of a program what it did in the tests, as a hash; null where there is none
    "in_majority": pl.Boolean,  # null: no answer, or not known whether it equals the majority's
    "correct": pl.Float64,  # the grader's score, 0 to 1; null without a reference or where the grader gave up
    "majority_answer": pl.String,  # the answer most often given; null where programs or no answers are compared
    "agreement": pl.Float64,  # share of the answers that agree with the majority (unknown ones left out)
    "ties": pl.Int64,  # different answers that are most frequent; more than 1 is a tie, which the earliest wins
    "pass_rate": pl.Float64,  # mean of correct
    "difficulty_from_answers": pl.Float64,  # 1 - pass_rate; where there is no reference 1 - agreement
    "truncated": pl.Boolean,  # cut by the token limit
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
}
"""What all answers to a question say together; one row per answer, the question's columns on each."""

DROPPED: Schema = {
    "question_id": pl.String,
    "source": pl.String,
    "source_row": pl.String,
    "stage": pl.String,
    "reason": pl.String,
}
"""What a stage dropped, one row per dropped row and piece of evidence; a stage adds columns of evidence of its own."""

DATASET: Schema = {
    "difficulty": pl.Int64,
    "source": pl.String,
    "domain": pl.String,
    "conversations": pl.List(pl.Struct({"from": pl.String, "value": pl.String})),
    "question_id": pl.String,
    "sample": pl.Int64,
}
"""OpenThoughts3's released columns and two of ours that lead back to the question and its answer."""

GRADES: Schema = {
    "benchmark": pl.String,
    "question_id": pl.String,
    "sample": pl.Int64,
    "answer": pl.String,  # what was extracted; null where nothing could be
    "score": pl.Float64,  # 0 to 1
    "outcome": pl.String,  # correct, wrong, unparseable, unknown (the grader gave up), failed (no completion)
}

SCORES: Schema = {
    "benchmark": pl.String,
    "questions": pl.Int64,
    "samples": pl.Int64,  # per question
    "score": pl.Float64,  # mean over questions of the mean over samples, 0 to 100
    "standard_error": pl.Float64,  # of the score, over questions
    "unparseable": pl.Int64,
    "unknown": pl.Int64,
    "failed": pl.Int64,
}


def write_table(
    table: pl.DataFrame | pl.LazyFrame, path: Path | str, schema: Schema, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a table atomically: the columns of ``schema`` in its order and types, then any further ones.

    ``metadata`` is noted in the file beside the rows.
    """
    names = table.collect_schema().names()
    missing = [name for name in schema if name not in names]
    if missing:
        raise ValueError(f"{path}: the table lacks {', '.join(missing)}")
    ordered = table.select(
        *[pl.col(name).cast(dtype) for name, dtype in schema.items()],
        *[pl.col(name) for name in names if name not in schema],
    )
    noted = dict(metadata) if metadata else None
    with atomic_path(path) as temporary:
        if isinstance(ordered, pl.LazyFrame):
            ordered.sink_parquet(temporary, compression="zstd", metadata=noted)
        else:
            ordered.write_parquet(temporary, compression="zstd", metadata=noted)


def scan_table(path: Path | str, schema: Schema) -> pl.LazyFrame:
    """Open a table lazily, checked against ``schema``.

    Raises ``UserError`` where the file is missing, cut short, not Parquet, or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist: run the stage that makes it.")
    table = pl.scan_parquet(path, glob=False)
    try:
        columns = table.collect_schema()
    except Exception as error:
        raise UserError(f"{path} is not a whole Parquet file: delete it and run again.") from error
    missing = [name for name in schema if name not in columns]
    if missing:
        raise UserError(f"{path} lacks the column {', '.join(missing)}: delete it and run again.")
    return table


def read_table(path: Path | str, schema: Schema, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a table, or ``columns`` of it (the others are not loaded), checked as by ``scan_table``."""
    table = scan_table(path, schema)
    table = table if columns is None else table.select(columns)
    try:
        return table.collect()
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path} is not a whole Parquet file: delete it and run again.") from error


def empty_table(schema: Schema) -> pl.DataFrame:
    """A table of no rows with the columns of ``schema``."""
    return pl.DataFrame(schema=dict(schema))
