"""Read the questions that a model wrote out of its answers, and keep why the other texts gave none.

The questions are in the order of the texts they were made of.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.base.tables import QUESTIONS, write_table
from openthoughts.inference.read_back import require_any
from openthoughts.questions.writing import WRITTEN_DROPPED, written_questions
from openthoughts.sources.connectors.written import STEPS

log = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="documents or questions")
    parser.add_argument("--completions", type=Path, nargs="+", required=True)
    parser.add_argument("--step", choices=STEPS, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    options = parser.parse_args(argv)
    kept, dropped = written_questions(options.step, options.questions, options.completions)
    require_any(kept.height, dropped["reason"], "question")
    write_table(dropped, options.dropped, WRITTEN_DROPPED)
    write_table(kept, options.output, QUESTIONS)
    log.info("%s: %d questions, %d texts without one", options.output, kept.height, dropped.height)
    return 0


if __name__ == "__main__":
    sys.exit(main())
