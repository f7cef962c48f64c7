"""Put the selected questions of a domain's sources together, in an order given by a keyed hash of the seed and the row.

The order does not depend on that of the sources, and another source leaves the order of the others' rows as it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Mix sources."""
    from openthoughts.questions.selection import mix

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="selected questions of each source")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    mix(arguments.questions, arguments.seed, output=arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
