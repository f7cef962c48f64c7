"""Write what a recipe is made of, and put links to its dataset, model, scores and plots beside it.

The manifest names every stage with its id, its file (relative to the manifest), its rows and its size, and the versions
of the programs that made them. Links are relative, so the results can be moved or mounted elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.cli import command
from lib.manifest import Stage, link, manifest
from lib.tables import write_text


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="name of the recipe")
    parser.add_argument("--stage", nargs=4, action="append", required=True, metavar=("KIND", "DOMAIN", "ID", "PATH"))
    parser.add_argument("--link", nargs=2, action="append", default=[], metavar=("NAME", "PATH"))
    parser.add_argument("--counts", type=Path, help="counts.json of the dataset")
    parser.add_argument("--output", type=Path, required=True, help="manifest.json")
    arguments = parser.parse_args(argv)
    stages = [
        Stage(kind, None if domain == "-" else domain, identity, Path(path))
        for kind, domain, identity, path in arguments.stage
    ]
    described = manifest(arguments.recipe, stages, arguments.output.parent, arguments.counts)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for name, target in arguments.link:
        link(arguments.output.parent / name, Path(target))
    write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
