"""Write a recipe's page: one HTML file that works offline, fetches nothing, and shows what comes from data as text.

It holds the funnel, labels and lengths, what decontamination and deduplication dropped (with pairs side by side),
answers, training, scores with errors beside the paper's, experiments, what was planned and spent, time and memory, what
everything is pinned to, and a browser of some hundred rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    from openthoughts.base.tables import write_text
    from openthoughts.costs.estimates import estimates_of_kinds
    from openthoughts.plan.plan_file import recipe_of
    from openthoughts.report.manifest import Recipe
    from openthoughts.report.page.page import render
    from openthoughts.report.page.sections import Sources, facts, sections

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True, help="plan that the workflow wrote")
    parser.add_argument("--recipe", required=True, help="name of the recipe")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the recipe")
    parser.add_argument("--output", type=Path, required=True, help="report.html")
    arguments = parser.parse_args(argv)
    recipe = Recipe.read(arguments.manifest)
    of, planned = recipe_of(arguments.plan, arguments.recipe)
    experiments = [
        (each.name, Path(of.plan.path(each.stage)), Path(of.plan.path(each.stage, "summary.md")))
        for each in of.varying(recipe.name)
    ]
    estimates = estimates_of_kinds(planned.stages(), of.accelerator)
    sources = Sources(recipe, Path(of.plan.results) / "usage", experiments, estimates)
    write_text(render(recipe.name, facts(recipe), sections(sources)), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
