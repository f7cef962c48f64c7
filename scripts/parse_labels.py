"""Read the labels out of the answers of all shards: one row for every distinct question, ordered by its id.

Of several answers to a question the first that can be read counts. Where none can, the value is null and ``error``
says why. The scores of a classifier or of embeddings are labels already and only put together.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import command
from openthoughts.base.tables import LABELS, QUESTIONS, read_table, scan_table, write_table
from openthoughts.inference.read_back import completion_rows, matched, require_any
from openthoughts.questions.labelling import answered_methods, read_label
from openthoughts.questions.labels import Label
from openthoughts.questions.labels.response_length import UNITS

log = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--completions", type=Path, nargs="+", required=True)
    parser.add_argument("--method", required=True, help=f"{', '.join(answered_methods())}, or what the scores are")
    parser.add_argument("--unit", choices=UNITS, default="tokens", help="of response_length")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    wanted = scan_table(options.questions, QUESTIONS).select("question_id").unique().sort("question_id").collect()
    if options.method in answered_methods():
        labels = read_labels(options.completions, options.method, options.unit)
    else:
        labels = pl.concat([read_table(path, LABELS).select(*LABELS) for path in options.completions])
    table = matched(wanted, labels, f"questions of {options.questions} have no answer: run label_questions for them.")
    write_table(table, options.output, LABELS)
    unread = table.filter(pl.col("value").is_null())
    log.info("%s: %d labels, %d without a value", options.output, table.height, unread.height)
    require_any(table.height - unread.height, unread["error"], "label")
    return 0


def read_labels(paths: Sequence[Path], method: str, unit: str = "tokens") -> pl.DataFrame:
    """The labels (columns of ``LABELS``) of every question that tables of completions hold."""
    labels: dict[str, tuple[int, Label]] = {}
    for row in completion_rows(paths):
        question, sample = row["question_id"], row["sample"]
        label = read_label(method, row, unit)
        known = labels.get(question)
        if known is None or _is_better(sample, label, *known):
            labels[question] = (sample, label)
    rows = [(question, label.value, label.rationale, label.error) for question, (_, label) in labels.items()]
    return pl.DataFrame(rows, schema=dict(LABELS), orient="row")


def _is_better(sample: int, label: Label, known_sample: int, known: Label) -> bool:
    return (label.value is None, sample) < (known.value is None, known_sample)


if __name__ == "__main__":
    sys.exit(main())
