"""Pin the datasets and models of the catalog: each to the commit or checksum that it has now.

What is pinned already stays as it is, unless --update asks for what is newest. Without names, everything in the catalog
is pinned, except what cannot be fetched. A dump of StackExchange is downloaded for its checksum, and kept.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command

log = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the lock."""
    from openthoughts.plan.catalog import read_catalog
    from openthoughts.sources.lock import lock, selected

    arguments = parse(argv)
    catalog = read_catalog(arguments.catalog)
    named = any((arguments.sources, arguments.benchmarks, arguments.models))
    wanted = {
        section: selected(section, getattr(catalog, section), getattr(arguments, section) if named else None)
        for section in ("sources", "benchmarks", "models")
    }
    new = lock(wanted, arguments.output, arguments.update)
    log.info("%d new pins in %s", new, arguments.output)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The program's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", type=Path, nargs="+", required=True, help="folders of the catalog")
    for section in ("sources", "benchmarks", "models"):
        parser.add_argument(f"--{section}", nargs="*", default=[], metavar="NAME", help=f"{section} to pin")
    parser.add_argument("--update", action="store_true", help="pin again what is pinned already")
    parser.add_argument("--output", type=Path, required=True, help="lock.yaml")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
