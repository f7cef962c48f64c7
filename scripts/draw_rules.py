"""Draw the rules of the workflow and what they hand on: docs/images/rules.svg, from Snakemake's own graph.

Reads what ``snakemake --rulegraph`` prints. Rules that only describe and plot what others made are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.base.tables import write_text
from openthoughts.report.rule_graph import picture, read_dot, reduced, without


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Read the graph and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", type=argparse.FileType(), default="-", help="the graph (default: standard input)")
    parser.add_argument("--output", type=Path, default=Path("docs/images/rules.svg"))
    options = parser.parse_args(argv)
    edges = read_dot(options.graph.read())
    if not edges:
        raise UserError("there is no rule in the graph: give what `snakemake --rulegraph` prints.")
    told = {rule for rule in edges if rule.startswith("plot_")} | {"all", "describe_experiment", "list_arms"}
    write_text(picture(reduced(without(edges, told))), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
