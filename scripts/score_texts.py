"""Score the questions or the answers of one shard: with a classifier, or by what is computed from questions alone.

Give --questions for a row of labels a distinct question, --answers for a row of assessments an answer that came.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError, command
from openthoughts.base.hashing import shard_expression
from openthoughts.base.options import did_you_mean
from openthoughts.base.streams import TableWriter, read_batches
from openthoughts.base.tables import ASSESSMENTS, COMPLETIONS, LABELS, write_table
from openthoughts.inference.request_source import shard_questions
from openthoughts.questions.classifier import scorer


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    texts = parser.add_mutually_exclusive_group(required=True)
    texts.add_argument("--questions", type=Path)
    texts.add_argument("--answers", type=Path)
    scores = parser.add_mutually_exclusive_group(required=True)
    scores.add_argument("--classifier", type=Path, help="the probability of being like the good examples")
    scores.add_argument("--score", help="name of a score in openthoughts.questions.labels")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    schema = LABELS if options.questions else ASSESSMENTS
    if options.score is not None:
        return write_scores(options)
    with scorer(options.classifier) as score, TableWriter(options.output, schema) as writer:
        if options.questions:
            rows = shard_questions(options.questions, options.shard, options.shards)
            writer.write(_scored(rows.rename({"question": "text"}), score))
        else:
            for batch in read_batches(options.answers, COMPLETIONS, ["question_id", "sample", "text"]):
                here = shard_expression(options.shards) == options.shard
                writer.write(_scored(batch.filter(here & pl.col("text").is_not_null()), score))
    logging.info("%s: %d scores", options.output, writer.rows)
    return 0


def write_scores(options: argparse.Namespace) -> int:
    """Write the labels of one shard of questions that a function computes."""
    from openthoughts.questions.labels import METHODS

    computed = [name for name, method in METHODS.items() if not (method.asks or method.learns)]
    if options.questions is None or options.score not in computed:
        raise UserError(f"there is no question score {options.score}{did_you_mean(options.score, computed)}.")
    rows = shard_questions(options.questions, options.shard, options.shards)
    values = METHODS[options.score].score(rows).cast(pl.Float64).fill_nan(None)
    nothing = pl.lit(None, pl.String)
    table = rows.with_columns(value=values, rationale=nothing, error=nothing)
    error = pl.when(pl.col("value").is_null()).then(pl.lit("no score"))
    write_table(table.select("question_id", "value", "rationale", error=error), options.output, LABELS)
    logging.info("%s: %d scores", options.output, table.height)
    return 0


def _scored(rows: pl.DataFrame, score: object) -> pl.DataFrame:
    assert callable(score)
    return rows.with_columns(
        pl.Series("value", list(score(rows["text"])), dtype=pl.Float64), rationale=pl.lit(None, pl.String)
    ).with_columns(error=pl.when(pl.col("value").is_null()).then(pl.lit("no word to score")))


if __name__ == "__main__":
    sys.exit(main())
