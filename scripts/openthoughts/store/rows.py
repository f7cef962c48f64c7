"""The rows of the store's table: their columns, and which of several rows of a key counts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from openthoughts.base.hashing import canonical_json
from openthoughts.base.tables import Schema
from openthoughts.store.journal import Row

ROWS: Schema = {
    "key": pl.String,  # what was asked: digest of model, messages, sampling, response schema, sample and seed
    "model_id": pl.String,  # partition: readable part of the model's identity and a digest of its key
    "bucket": pl.String,  # partition: first hex digit of question_id
    "model": pl.String,  # the model's name when it was asked
    "question_id": pl.String,
    "sample": pl.Int64,
    "seed": pl.Int64,
    "text": pl.String,  # the content as it came; null with an error
    "reasoning": pl.String,  # what the server split off as reasoning; null where it split nothing
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "error": pl.String,  # why there is no text and never will be
    "size": pl.Int64,  # bytes of text and reasoning
    "usd": pl.Float64,  # price of the answer where the model has one
    "request": pl.String,  # JSON: sampling settings, digest of the messages, name of the response schema
    "response": pl.String,  # JSON: id, model, system_fingerprint and usage as the server gave them
    "answered_at": pl.Int64,  # microseconds since 1970
    "stored_at": pl.Int64,  # microseconds since 1970, when folded into the table
    "writer": pl.String,
}

FIRST = ["failed", "stored_at", "answered_at", "writer"]
"""Of several rows of a key, the smallest in these columns counts."""

FORGOTTEN = "forgotten-"
"""What the key of a row begins with whose answer was forgotten (``openthoughts.inference.forgetting``)."""

BLOCK_BYTES = 32 * 2**20
"""Text read at a time."""

ROW_BYTES = 1024
"""Bytes of a row without its text."""


def rank() -> list[pl.Expr]:
    """The columns of ``FIRST``."""
    return [pl.col("error").is_not_null().alias("failed"), *[pl.col(name) for name in FIRST if name != "failed"]]


def first_of_key(rows: pl.LazyFrame) -> pl.DataFrame:
    """The row of every key that counts; needs the columns key and those of ``rank``."""
    return rows.collect().sort(*FIRST).unique("key", keep="first", maintain_order=True)


def table_rows(parts: Iterable[Sequence[Row]], writer: str) -> pl.DataFrame:
    """Journal rows as rows of the table, ordered so that a file's rows of one question lie together.

    They come part by part, because as Python's objects they take several times the space of the table.
    """
    now = time.time_ns() // 1000
    schema = dict(ROWS)
    tables = [pl.DataFrame([[row.get(name) for name in ROWS] for row in part], schema, orient="row") for part in parts]
    return (
        pl.concat(tables or [pl.DataFrame(schema=schema)])
        .with_columns(
            bucket=pl.col("question_id").str.slice(0, 1),
            size=pl.col("text").str.len_bytes().fill_null(0) + pl.col("reasoning").str.len_bytes().fill_null(0),
            stored_at=pl.lit(now, dtype=pl.Int64),
            writer=pl.lit(writer),
        )
        .sort("question_id", "sample", "key", "answered_at")
    )


def blocks(expected: pl.DataFrame, size: int = BLOCK_BYTES) -> Iterator[pl.DataFrame]:
    """Cut a table (ordered by question; column ``size``) into runs of about ``size`` bytes of text and the like."""
    numbered = expected.with_columns(block=(pl.col("size") + ROW_BYTES).cum_sum().floordiv(size))
    yield from numbered.partition_by("block", maintain_order=True, include_key=False)


def dumps(value: Mapping[str, Any]) -> str:
    """A JSON column's text."""
    return canonical_json(dict(value))
