"""Which answers a stage wants: the questions of a shard, their prompts, samples and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import request_seed, shard_expression
from openthoughts.base.tables import DRAWN, QUESTIONS, Schema, scan_table
from openthoughts.inference.job import Prompted
from openthoughts.inference.prompts import Prompt


def shard_questions(path: Path | str, shard: int, shards: int, schema: Schema = QUESTIONS) -> pl.DataFrame:
    """The distinct questions of one shard: question_id, question, metadata, repeats; ordered by question_id.

    ``repeats`` is the number of rows that want answers of their own: the largest ``occurrence`` and one where the
    table is drawn, else 1. Raises ``UserError`` for a shard that does not exist.
    """
    if not 0 <= shard < shards:
        raise UserError(f"there is no shard {shard} of {shards}: they are numbered from 0 to {shards - 1}.")
    repeats = pl.col("occurrence").max() + 1 if "occurrence" in schema else pl.lit(1, dtype=pl.Int64)
    return (
        scan_table(path, schema)
        .filter(shard_expression(shards) == shard)
        .sort("question_id", "source", "source_row")
        .group_by("question_id", maintain_order=True)
        .agg(pl.col("question").first(), pl.col("metadata").first(), repeats.first().alias("repeats"))
        .collect()
    )


def drawn_questions(path: Path | str, shard: int, shards: int) -> pl.DataFrame:
    """``shard_questions`` of a drawn table."""
    return shard_questions(path, shard, shards, DRAWN)


def prompted(
    questions: pl.DataFrame, prompt: Prompt, samples: int, seed: int, benchmark: str = ""
) -> Callable[[], Iterator[Prompted]]:
    """The answers wanted to ``questions`` (as ``shard_questions`` gives them): ``samples`` for every repeat."""

    def wanted() -> Iterator[Prompted]:
        for row in questions.iter_rows(named=True):
            messages = prompt.messages(row["question"], row["metadata"])
            for sample in range(row["repeats"] * samples):
                question = row["question_id"]
                yield Prompted(question, sample, request_seed(seed, question, sample), messages, benchmark)

    return wanted
