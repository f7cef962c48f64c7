"""Fetch a model of the catalog: its weights, checked against their pin, and ``model.json``, which says who it is.

The kinds of models and the keys of their entries are in ``openthoughts/models/fetch.py``. The weights go into a folder
beside ``model.json`` that nothing tracks; a rerun verifies them and downloads nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command, json_object
from openthoughts.models.fetch import fetch


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Fetch one model and write its ``model.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="name of the catalog entry")
    parser.add_argument("--entry", required=True, help="the catalog entry as JSON")
    parser.add_argument("--revision", help="commit of a hub model, from the lock")
    parser.add_argument("--output", required=True, type=Path, help="model.json")
    options = parser.parse_args(argv)
    fetch(options.name, json_object(options.entry, "--entry"), options.revision or None, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
