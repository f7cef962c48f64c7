"""Draw a number of questions: the rows of smallest keyed hash of seed, question and occurrence, in that order.

A larger draw, or one from more sources, keeps the rows of a smaller one. Where a question is drawn in several rows,
``occurrence`` numbers them, and each row gets answers of its own.
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
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)
    count = wanted(arguments.count, "--count")
    files = {"output": arguments.output, "dropped": arguments.dropped}
    draw(arguments.questions, count, arguments.seed, **files, fill=arguments.fill)
    return 0


if __name__ == "__main__":
    sys.exit(main())
