"""Ask a model whether each answer of one shard is right: a structured verdict with its reasons.

One request an answer that says something after its reasoning; ``read_assessments`` reads the verdicts out of the raw
answers, which are the output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.answers.verification import verdict_schema, verdicts_wanted
from openthoughts.base.cli import command
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import add_arguments, read_asking
from openthoughts.inference.prompts import Prompt


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True, help="drawn questions")
    parser.add_argument("--answers", type=Path, required=True, help="merged completions")
    parser.add_argument(
        "--prompt", type=Path, required=True, help="Markdown file with {question} and {answer} or {response}"
    )
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser)
    options = parser.parse_args(argv)
    prompt = Prompt.read(options.prompt)
    prompt.require("answer", "response", name=options.prompt)
    wanted = verdicts_wanted(options.questions, options.answers, prompt, options.seed, options.shard, options.shards)
    complete_shard(wanted, read_asking(options, verdict_schema()), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
