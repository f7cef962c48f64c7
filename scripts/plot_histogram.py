"""Plot the distribution of a column of numbers, in a panel for each label.

Give --series once for every table; the columns of one label are taken together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.report.plot_data import binned
from openthoughts.report.plots import histograms, message, save_svg, write_tsv


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs=3, action="append", required=True, metavar=("LABEL", "TABLE", "COLUMN"))
    parser.add_argument("--axis", required=True, help="what the numbers are")
    parser.add_argument("--bins", type=int, default=40)
    parser.add_argument("--output", type=Path, required=True, help="the plot, SVG")
    parser.add_argument("--table", type=Path, required=True, help="its numbers, TSV")
    arguments = parser.parse_args(argv)
    counts = binned([(label, Path(path), column) for label, path, column in arguments.series], arguments.bins)
    labels = list(dict.fromkeys(label for label, _, _ in arguments.series))
    write_tsv(counts, arguments.table)
    empty = counts.is_empty()
    save_svg(message("no numbers") if empty else histograms(counts, labels, arguments.axis), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
