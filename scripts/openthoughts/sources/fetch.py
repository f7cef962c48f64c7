"""What the two fetching programs share: their arguments and what they do."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.sources.reading import write_questions

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what to fetch and where to write it."""
    parser.add_argument("--name", required=True, help="name of the catalog entry, the column `source` of the table")
    parser.add_argument("--domain", required=True, help="domain of its questions: math, code or science")
    parser.add_argument("--entry", required=True, help="the catalog entry, as JSON")
    parser.add_argument("--revision", help="commit or checksum to read, as pinned in the lock")
    parser.add_argument("--output", required=True, type=Path, help="questions.parquet")


def _parsed_entry(name: str, text: str) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}: --entry is not JSON ({error}): pass the catalog entry as one JSON object.") from error
    if not isinstance(entry, dict):
        raise UserError(f"{name}: --entry is not a JSON object: pass the catalog entry as one JSON object.")
    return entry


def fetch(arguments: argparse.Namespace) -> None:
    """Write the questions of the entry that the arguments name."""
    entry = _parsed_entry(arguments.name, arguments.entry)
    rows = write_questions(arguments.name, arguments.domain, entry, arguments.revision, arguments.output)
    log.info("%s: %d rows", arguments.name, rows)
