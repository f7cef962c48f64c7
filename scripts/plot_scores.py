"""Plot the scores of several models with their standard errors, the average first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import command
from openthoughts.report.plot_data import model_scores
from openthoughts.report.plots import error_bars, save_svg, write_tsv


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", nargs=2, action="append", required=True, metavar=("MODEL", "TABLE"))
    parser.add_argument("--output", type=Path, required=True, help="the plot, SVG")
    parser.add_argument("--table", type=Path, required=True, help="its numbers, TSV")
    arguments = parser.parse_args(argv)
    scores = model_scores([(model, Path(path)) for model, path in arguments.scores])
    write_tsv(scores, arguments.table)
    known = scores.filter(pl.col("score").is_not_null())
    save_svg(error_bars(known, "model", "benchmark"), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
