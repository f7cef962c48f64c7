"""Fetch one question source or benchmark of the catalog into a table of questions.

The rows keep its own order. ``openthoughts.sources.entries`` and the connectors' docstrings say what an entry may hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from openthoughts.base.cli import command
from openthoughts.sources.fetch import add_arguments, fetch


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Read the entry and write its questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    fetch(parser.parse_args(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
