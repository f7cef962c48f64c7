"""Draw a number of questions: the rows of smallest keyed hash of seed, question and occurrence, in that order.

A larger draw, or one from more sources, keeps the rows of a smaller one. Where a question is drawn in several rows,
``occurrence`` numbers them, and each row gets answers of its own. A draw that comes out short ends the run with how
many rows are missing and which stage took them, unless rows are repeated (--fill) or may be missing (--short allowed).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Draw questions."""
    from openthoughts.questions.selection import draw, wanted

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--count", required=True, help="number of rows to draw, or all")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--fill", action="store_true", help="repeat rows where there are fewer than --count")
    parser.add_argument("--short", choices=("fails", "allowed"), default="fails", help="a draw of fewer than --count")
    parser.add_argument(
        "--before",
        nargs="+",
        action="append",
        default=[],
        metavar=("STAGE", "QUESTIONS"),
        help="a stage before and its tables, in the order of the data: they tell why rows are missing",
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)
    count = wanted(arguments.count, "--count")
    draw(
        arguments.questions,
        count,
        arguments.seed,
        output=arguments.output,
        dropped=arguments.dropped,
        fill=arguments.fill,
        may_be_short=arguments.short == "allowed",
        before=[(stage, [Path(path) for path in paths]) for stage, *paths in arguments.before],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
