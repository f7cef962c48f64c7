"""Fetch one question source or benchmark of the catalog into a table of questions.

The rows keep its own order. ``openthoughts.sources.entries`` and the connectors' docstrings say what an entry may hold.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command, json_object
from openthoughts.sources.reading import write_questions


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Read the entry and write its questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the catalog entry, the column `source` of the table")
    parser.add_argument("--domain", required=True, help="domain of its questions: math, code or science")
    parser.add_argument("--entry", required=True, help="the catalog entry, as JSON")
    parser.add_argument("--revision", help="commit or checksum to read, as pinned in the lock")
    parser.add_argument("--output", required=True, type=Path, help="questions.parquet")
    options = parser.parse_args(argv)
    entry = json_object(options.entry, "--entry")
    rows = write_questions(options.name, options.domain, entry, options.revision, options.output)
    logging.info("%s: %d rows", options.name, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
