"""Plot how many questions decontamination dropped, by benchmark and method."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import command
from openthoughts.report.plot_data import decontaminated
from openthoughts.report.plots import message, save_svg, stacked_bars, write_tsv


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dropped", nargs=2, action="append", required=True, metavar=("SOURCE", "TABLE"))
    parser.add_argument("--output", type=Path, required=True, help="the plot, SVG")
    parser.add_argument("--table", type=Path, required=True, help="its numbers, TSV")
    arguments = parser.parse_args(argv)
    counts = decontaminated([(source, Path(path)) for source, path in arguments.dropped])
    write_tsv(counts, arguments.table)
    if counts.is_empty():
        chart = message("decontamination dropped nothing")
    else:
        bars = counts.group_by("benchmark", "method").agg(pl.col("count").sum()).sort("benchmark", "method")
        chart = stacked_bars(
            bars, "benchmark", "method", "questions dropped (a question counts for each method that finds it)"
        )
    save_svg(chart, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
