"""Drop the questions that are too long for the teacher, counted in tokens of its tokenizer.

The rows keep their order; the dropped table holds the number of tokens of each dropped question.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Limit the length of questions."""
    from openthoughts.questions.selection import limit_length

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True, help="name of a tokenizer, or model.json of a model that has one")
    parser.add_argument("--max-tokens", type=int, required=True, help="most tokens of a question that is kept")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)
    if arguments.max_tokens < 1:
        raise UserError(f"--max-tokens {arguments.max_tokens} keeps nothing: give a number from 1.")
    limit_length(
        arguments.questions,
        arguments.tokenizer,
        arguments.max_tokens,
        output=arguments.output,
        dropped=arguments.dropped,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
