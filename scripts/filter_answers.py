"""Keep the answers that a filter chooses, and say of every other one why it was dropped.

The filter is one of ``openthoughts.answers.filters`` (``none`` keeps all); completions that failed for good are
always dropped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.answers.filtering import filter_answers
from openthoughts.base.cli import command, json_object


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True, help="drawn questions")
    parser.add_argument("--answers", type=Path, required=True, help="merged completions")
    parser.add_argument("--by", required=True, metavar="FILTER", help="name of the filter")
    parser.add_argument("--options", default="{}", metavar="JSON", help="options of the filter")
    parser.add_argument("--measured", type=Path, help="what measure_answers computed, for filters that need it")
    parser.add_argument("--assessed", type=Path, help="what read_assessments wrote, for filters that need it")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)
    kept, dropped = filter_answers(
        arguments.questions,
        arguments.answers,
        arguments.by,
        json_object(arguments.options, "--options"),
        arguments.output,
        arguments.dropped,
        {"measured": arguments.measured, "assessed": arguments.assessed},
    )
    logging.info("%s: kept %d answers, dropped %d", arguments.by, kept, dropped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
