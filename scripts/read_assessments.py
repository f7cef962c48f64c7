"""Put the assessments of all shards of answers together: one row per answer that came, in the order of the answers.

Verdicts of a model are read out of its answers; where one cannot be read, the value is null and ``error`` says why.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import polars as pl

from openthoughts.answers.filters import FILTERS
from openthoughts.answers.verification import NOTHING, answer_of, read_verdict
from openthoughts.base.cli import command
from openthoughts.base.streams import read_batches
from openthoughts.base.tables import ASSESSMENTS, COMPLETIONS, empty_table, read_table, scan_table, write_table
from openthoughts.inference.read_back import matched, require_any

KEYS = ("question_id", "sample")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, required=True, help="merged completions")
    parser.add_argument("--assessed", type=Path, nargs="+", required=True, help="shards of scores or of verdicts")
    parser.add_argument(
        "--method", choices=[name for name, chosen in FILTERS.items() if chosen.assessed_by], required=True
    )
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    if options.method == "fasttext":
        assessments = pl.concat([read_table(path, ASSESSMENTS).select(*ASSESSMENTS) for path in options.assessed])
    else:
        assessments = pl.concat([verdicts(options.assessed), not_asked_about(options.answers)])
    wanted = scan_table(options.answers, COMPLETIONS).filter(pl.col("text").is_not_null()).select(KEYS).collect()
    lacking = f"answers of {options.answers} are not assessed: delete the shards and run again."
    table = matched(wanted.sort(KEYS), assessments, lacking)
    write_table(table, options.output, ASSESSMENTS)
    unread = table.filter(pl.col("value").is_null() & (pl.col("error") != NOTHING))
    logging.info("%s: %d assessments, %d that could not be read", options.output, table.height, unread.height)
    require_any(table.height - unread.height, unread["error"], "verdict")
    return 0


def verdicts(paths: Sequence[Path]) -> pl.DataFrame:
    """The verdicts in tables of completions."""
    parts = [empty_table(ASSESSMENTS)]
    for batch in (batch for path in paths for batch in read_batches(path, COMPLETIONS)):
        labels = ((row["question_id"], row["sample"], read_verdict(row)) for row in batch.iter_rows(named=True))
        rows = [(question, sample, *astuple(label)) for question, sample, label in labels]
        parts.append(pl.DataFrame(rows, schema=dict(ASSESSMENTS), orient="row"))
    return pl.concat(parts)


def not_asked_about(answers: Path) -> pl.DataFrame:
    """Assessments of the answers that have nothing after their reasoning."""
    parts = [empty_table(ASSESSMENTS)]
    for batch in read_batches(answers, COMPLETIONS, [*KEYS, "text"]):
        silent = pl.Series([text is not None and answer_of(text) is None for text in batch["text"]], dtype=pl.Boolean)
        keys = batch.filter(silent).select(KEYS)
        nothing = [pl.lit(None, ASSESSMENTS[name]).alias(name) for name in ("value", "rationale")]
        parts.append(keys.with_columns(*nothing, error=pl.lit(NOTHING)))
    return pl.concat(parts)


if __name__ == "__main__":
    sys.exit(main())
