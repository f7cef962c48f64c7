"""Ask the teacher for the answers of one shard of the drawn questions.

Occurrence j of a question gets samples j * n to j * n + n - 1. The output has a row for every sample, failed ones too,
ordered by (question_id, sample).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import add_arguments, read_asking
from openthoughts.inference.prompts import Prompt
from openthoughts.inference.request_source import drawn_questions, prompted


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--prompt", type=Path, help="Markdown file; the bare question without")
    parser.add_argument("--samples", type=int, required=True, help="answers to every row of the drawn questions")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser)
    options = parser.parse_args(argv)
    asking = read_asking(options)
    questions = drawn_questions(options.questions, options.shard, options.shards)
    prompts = prompted(questions, Prompt.read(options.prompt), options.samples, options.seed)
    complete_shard(prompts, asking, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
