"""Say what became of a question, stage by stage, and why it was dropped.

QUESTION is a question's id, the first digits of it, or SOURCE:ROW (a source's name and the row's key in it). For every
benchmark question or earlier question that it was dropped for, both texts are shown side by side with what they have
in common marked: the parts that their similarity consists of, or the run of tokens that they share.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    from openthoughts.report.explanation import Look, Results, explain

    arguments = parse(argv)
    colour = sys.stdout.isatty() if arguments.colour == "auto" else arguments.colour == "always"
    width = arguments.width or shutil.get_terminal_size((120, 40)).columns
    for line in explain(Results(arguments.results), arguments.question, Look(width, colour, arguments.matches)):
        print(line)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", help="id, its first digits, or SOURCE:ROW")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results (default: results)")
    parser.add_argument("--matches", type=int, default=3, help="matches shown of each stage, best first; 0: all")
    parser.add_argument("--width", type=int, default=0, help="cells per line; 0: as wide as the terminal")
    parser.add_argument("--colour", choices=("auto", "always", "never"), default="auto")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
