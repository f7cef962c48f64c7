"""Put the shards of the answers together: every expected (question, sample) exactly once, ordered so.

What the model's chat template writes at the start of the assistant's turn (``<think>`` for some models that reason) is
part of the prompt to the server and of the answer to a reader: it is put back in front of every text.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError, command
from openthoughts.base.streams import TableWriter, read_batches
from openthoughts.base.tables import COMPLETIONS, scan_table
from openthoughts.inference.request_source import drawn_questions
from openthoughts.models.model import Model

log = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--completions", type=Path, nargs="+", required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    opening = Model.read(options.model).opening
    check_complete(options.questions, options.completions, options.samples)
    with TableWriter(options.output, COMPLETIONS) as writer:
        for path in in_order(options.completions):
            for batch in read_batches(path, COMPLETIONS):
                writer.write(batch.with_columns(text=with_opening(opening)))
    log.info("%s: %d answers", options.output, writer.rows)
    return 0


def check_complete(questions: Path, completions: Sequence[Path], samples: int) -> None:
    """Raise ``UserError`` unless the tables hold every expected (question_id, sample) exactly once and no other."""
    expected = (
        drawn_questions(questions, 0, 1)
        .lazy()
        .select("question_id", sample=pl.int_ranges(pl.col("repeats") * samples, dtype=pl.Int64))
        .explode("sample", empty_as_null=False)
        .collect()
    )
    keys = ["question_id", "sample"]
    found = pl.concat([scan_table(path, COMPLETIONS).select(keys) for path in completions]).collect()
    problems = {
        "missing": expected.join(found, on=keys, how="anti").height,
        "there twice": found.height - found.unique().height,
        "unexpected": found.join(expected, on=keys, how="anti").height,
    }
    named = [f"{count} answers are {what}" for what, count in problems.items() if count]
    if named:
        raise UserError(f"the shards do not fit {questions}: {', '.join(named)}; delete the shards and run again.")


def in_order(completions: Sequence[Path]) -> list[Path]:
    """The tables in the order of their questions. Raises ``UserError`` where one is unordered or two overlap."""
    ranges = []
    for path in completions:
        ids = scan_table(path, COMPLETIONS).select("question_id", "sample").collect()
        if ids.is_empty():
            continue
        if not ids.equals(ids.sort("question_id", "sample")):
            raise UserError(f"{path} is not in the order of its questions: delete it and run again.")
        ranges.append((ids.item(0, "question_id"), ids.item(-1, "question_id"), path))
    ranges.sort(key=lambda one: one[0])
    for (_, last, path), (first, _, other) in pairwise(ranges):
        if first <= last:
            raise UserError(f"{path} and {other} are not shards of one whole: delete them and run again.")
    return [path for _, _, path in ranges]


def with_opening(opening: str) -> pl.Expr:
    """The text with ``opening`` in front, where it does not begin with it already; null stays null."""
    if not opening:
        return pl.col("text")
    has_it = pl.col("text").str.starts_with(opening.strip())
    return pl.when(has_it).then(pl.col("text")).otherwise(pl.lit(opening) + pl.col("text"))


if __name__ == "__main__":
    sys.exit(main())
