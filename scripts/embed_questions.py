"""Label the questions of one shard by their embeddings: how much more they are like good than like bad examples."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.base.tables import LABELS, write_table
from openthoughts.inference.job import add_arguments, read_asking
from openthoughts.inference.request_source import shard_questions
from openthoughts.questions.embeddings import embed, labels


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--direction", type=Path, required=True, help="direction.json of the examples")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser, sampled=False)
    options = parser.parse_args(argv)
    towards = json.loads(options.direction.read_text(encoding="utf-8"))["direction"]
    questions = shard_questions(options.questions, options.shard, options.shards)
    embedded = embed(questions["question"].to_list(), read_asking(options), options.output.parent)
    if embedded is None:
        return 0
    table = labels(questions["question_id"].to_list(), embedded, towards)
    write_table(table, options.output, LABELS, embedded.usage.metadata())
    logging.info("%s: %d labels", options.output, table.height)
    return 0


if __name__ == "__main__":
    sys.exit(main())
