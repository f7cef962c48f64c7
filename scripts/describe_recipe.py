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
    """Write the manifest and the links."""
    from openthoughts.base.tables import write_text
    from openthoughts.plan.plan_file import recipe_of
    from openthoughts.report.funnel import funnel
    from openthoughts.report.manifest import Recipe, link, manifest

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True, help="plan that the workflow wrote")
    parser.add_argument("--recipe", required=True, help="name of the recipe")
    parser.add_argument("--output", type=Path, required=True, help="manifest.json")
    options = parser.parse_args(argv)
    of, planned = recipe_of(options.plan, options.recipe)
    recipe = Recipe.planned(of.plan, planned)
    folder, counts = options.output.parent, Path(of.plan.path(planned.dataset, "counts.json"))
    described = manifest(recipe, folder, counts, funnel(recipe))
    folder.mkdir(parents=True, exist_ok=True)
    for name, stage in planned.named().items():
        link(folder / name, Path(of.plan.results) / stage.folder)
    write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
