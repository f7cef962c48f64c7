"""Compute what all answers to a question say together, whatever the filter: majority, agreement, pass rate, lengths.

Answers are compared by mathematical equality, by letter where the question has choices, and by what programs do in the
tests where it has tests (in the sandbox).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.answers.consensus import measure_answers
from openthoughts.base.cli import UserError, command, json_object

SETTINGS = {"last_number", "programs"}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True, help="drawn questions")
    parser.add_argument("--answers", type=Path, required=True, help="merged completions")
    parser.add_argument("--settings", required=True, metavar="JSON", help="last_number and programs (true or false)")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    settings = json_object(options.settings, "--settings")
    if set(settings) != SETTINGS:
        raise UserError(f"--settings is {options.settings}: give {' and '.join(sorted(SETTINGS))}.")
    table = measure_answers(options.questions, options.answers, settings, options.output)
    asked = table.unique("question_id")
    logging.info(
        "%s: %d answers to %d questions, %d with a majority (%d of them tied), %d with a pass rate, %d cut",
        options.output,
        table.height,
        asked.height,
        asked["agreement"].count(),
        asked.filter(asked["ties"] > 1).height,
        asked["pass_rate"].count(),
        table["truncated"].sum(),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
