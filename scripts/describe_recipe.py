"""Write what a recipe is made of, and put links to its dataset, model, scores and plots beside it.

The manifest names every stage with its id, its settings and inputs, its file (relative to the manifest), its rows and
its size, the funnel from the sources to the dataset (which must add up at every stage), and the versions of the
programs that made it. Links are relative, so the results can be moved or mounted elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    from openthoughts.base.tables import write_text
    from openthoughts.report.funnel import funnel
    from openthoughts.report.manifest import Recipe, Stage, link, manifest

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="name of the recipe")
    parser.add_argument(
        "--stages", required=True, help="JSON list of its stages: kind, domain, id, path, settings, inputs, about"
    )
    parser.add_argument("--link", nargs=2, action="append", default=[], metavar=("NAME", "PATH"))
    parser.add_argument("--counts", type=Path, help="counts.json of the dataset")
    parser.add_argument("--output", type=Path, required=True, help="manifest.json")
    arguments = parser.parse_args(argv)
    stages = [
        Stage(
            each["kind"], each.get("domain"), each["id"], Path(each["path"]), each.get("settings", {}),
            each.get("inputs", {}), each.get("about", {}),
        )
        for each in json.loads(arguments.stages)
    ]  # fmt: skip
    recipe = Recipe.of(arguments.recipe, stages)
    described = manifest(recipe, arguments.output.parent, arguments.counts, funnel(recipe))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for name, target in arguments.link:
        link(arguments.output.parent / name, Path(target))
    write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
