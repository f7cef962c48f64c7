"""Draw one plot of a recipe: its funnel, labels, lengths, decontamination, training, scores, or time and memory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.plan.plan_file import recipe_of
from openthoughts.report.plots import save_svg, write_tsv
from openthoughts.report.recipe_plots import DRAW, tables_of


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Draw the plot and write its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan that the workflow wrote")
    parser.add_argument("--recipe", required=True, help="name of the recipe")
    parser.add_argument("--plot", required=True, choices=DRAW, help="what to draw")
    parser.add_argument("--output", type=Path, required=True, help="the plot, SVG")
    parser.add_argument("--table", type=Path, required=True, help="its numbers, TSV")
    options = parser.parse_args(argv)
    of, recipe = recipe_of(options.plan, options.recipe)
    numbers, chart = DRAW[options.plot](tables_of(options.plot, of.plan, recipe))
    write_tsv(numbers, options.table)
    save_svg(chart, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
