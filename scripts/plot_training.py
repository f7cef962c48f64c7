"""Plot the training loss and learning rate of one or several students over the optimiser's steps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import command
from openthoughts.base.tables import read_table
from openthoughts.report.plots import lines, save_svg, write_tsv


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", nargs=2, action="append", required=True, metavar=("STUDENT", "TABLE"))
    parser.add_argument("--output", type=Path, required=True, help="the plot, SVG")
    parser.add_argument("--table", type=Path, required=True, help="its numbers, TSV")
    arguments = parser.parse_args(argv)
    measures = {"loss": "loss", "learning_rate": "learning rate"}
    schema = {"step": pl.Int64, **dict.fromkeys(measures, pl.Float64)}
    runs = [
        read_table(Path(path), schema).select(pl.lit(student).alias("student"), *schema)
        for student, path in arguments.metrics
    ]
    metrics = pl.concat(runs)
    write_tsv(metrics, arguments.table)
    points = metrics.rename(measures).unpivot(index=["student", "step"], variable_name="measure", value_name="value")
    save_svg(lines(points, list(measures.values()), "student"), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
