"""Keep one of every set of equal (``exact``) or similar (``fuzzy``) questions.

``none`` keeps every row. ``exact`` keeps, of the rows of one text, the first by source and source_row. ``fuzzy`` does
the same and then goes through the texts in a canonical order, longest first and equal lengths by question_id, and drops
a question whose normalised Indel similarity (``rapidfuzz.fuzz.ratio`` on the raw text) with an earlier question reaches
``--similarity``: an earlier *kept* one by default, any earlier one with ``--rule any`` (as published). The fullest
wording is the one kept, and the result depends on the questions alone, not on the order of their rows.

The dropped table names the question it was dropped for (the first kept one in canonical order) and their score.
Questions without a text are kept. Rows are sorted by question_id, source and source_row; all columns are kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command


@command
def main(argv: Sequence[str] | None = None) -> int:
    from openthoughts.questions.deduplication import deduplicate

    arguments = parse(argv)
    deduplicate(
        arguments.questions,
        arguments.level,
        arguments.similarity,
        arguments.rule,
        output=arguments.output,
        dropped=arguments.dropped,
        threads=arguments.threads,
        engine=arguments.engine,
    )
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True, help="questions to deduplicate")
    parser.add_argument("--level", choices=("none", "exact", "fuzzy"), required=True)
    parser.add_argument("--similarity", type=float, default=90.0, help="fuzzy: drop at this Indel similarity, 0 to 100")
    parser.add_argument("--rule", choices=("kept", "any"), default="kept", help="fuzzy: earlier rows that count")
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: one for each processor (same result)")
    parser.add_argument(
        "--engine", choices=("auto", "compiled", "plain"), default="auto", help="same result, other speed"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)
    if not 0 < arguments.similarity <= 100:
        raise UserError(f"--similarity {arguments.similarity:g} must be above 0 and at most 100.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
