"""Keep a share of a source's different questions, with all of their rows, before anything is asked about them.

A question is kept where its keyed hash of --seed lies below --share, so a larger share keeps what a smaller one kept;
of few questions --least stay. The dropped table holds the rows of the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Thin a source."""
    from openthoughts.questions.thinning import thin

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--share", type=float, required=True, help="share of the different questions, above 0 to 1")
    parser.add_argument("--least", type=int, required=True, help="different questions that stay at least")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    options = parser.parse_args(argv)
    if not 0 < options.share <= 1:
        raise UserError(f"--share {options.share:g} must be above 0 and at most 1.")
    if options.least < 1:
        raise UserError(f"--least {options.least} may leave nothing: give a number from 1.")
    files = {"output": options.output, "dropped": options.dropped}
    thin(options.questions, options.share, options.least, options.seed, **files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
