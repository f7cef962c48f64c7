"""Keep the best questions of a source: those of the highest label, or any by a keyed hash of the seed.

With --count questions, --keep counts different questions, and every row of a question that is kept stays; with --count
rows it counts rows. The rows come best first: highest label, ties by keyed hash. Questions without a label are dropped,
come last or first, or end the run, as --unlabelled says. The dropped table holds the others with their label and the
reason why a label is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command

UNLABELLED = ("drop", "last", "first", "error")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Select questions."""
    from openthoughts.questions.selection import select, wanted_part

    arguments = parse(argv)
    keep = wanted_part(arguments.keep, "--keep")
    labels = arguments.labels if arguments.by != "random" else None
    select(
        arguments.questions,
        labels,
        arguments.by,
        keep,
        arguments.seed,
        at_least=arguments.at_least,
        unlabelled=arguments.unlabelled,
        counted=arguments.count,
        output=arguments.output,
        dropped=arguments.dropped,
    )
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The program's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True, help="questions to select from")
    parser.add_argument("--labels", type=Path, help="their labels; not needed for a random selection")
    parser.add_argument("--by", required=True, help="what the labels are")
    parser.add_argument("--keep", required=True, help="number to keep, a fraction below 1, or all")
    parser.add_argument("--count", choices=("rows", "questions"), default="rows", help="what --keep counts")
    parser.add_argument("--at-least", type=float, help="drop rows of a smaller label")
    parser.add_argument("--unlabelled", choices=UNLABELLED, default="drop", help="what happens to rows without a label")
    parser.add_argument("--seed", type=int, required=True, help="breaks ties, and chooses at random")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)
    if arguments.by != "random" and arguments.labels is None:
        raise UserError(f"a selection by {arguments.by} needs labels: give --labels, or select by random.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
