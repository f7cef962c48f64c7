"""Plot how many rows and different questions each stage of a recipe leaves, by domain.

Give --stage once for every table, in the order the data flows; tables of one label are taken together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.report.plot_data import funnel
from openthoughts.report.plots import counts_bars, save_svg, write_tsv


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", nargs=2, action="append", required=True, metavar=("LABEL", "TABLE"))
    parser.add_argument("--output", type=Path, required=True, help="the plot, SVG")
    parser.add_argument("--table", type=Path, required=True, help="its numbers, TSV")
    arguments = parser.parse_args(argv)
    counts = funnel([(label, Path(path)) for label, path in arguments.stage])
    stages = list(dict.fromkeys(label for label, _ in arguments.stage))
    domains = counts["domain"].unique().sort().to_list()
    write_tsv(counts, arguments.table)
    save_svg(counts_bars(counts, stages, domains), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
