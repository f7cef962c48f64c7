"""Compare the arms of an experiment: a table with errors, a plot, and a paragraph written from the numbers.

Give --arm once for every run of an arm: an arm named several times has several runs (draws of the data, training
seeds). Differences are of a paired bootstrap over the questions that both arms answered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.cli import UserError, command
from lib.comparison import AVERAGE, COMPARISON, Arm, compare, summary
from lib.plots import error_bars, save_svg, write_tsv
from lib.tables import write_table, write_text


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--arm", nargs=3, action="append", required=True, metavar=("NAME", "SCORES", "GRADES"))
    parser.add_argument("--compare-to", required=True, metavar="ARM", help="the arm that the others are compared to")
    parser.add_argument("--group", nargs="+", action="append", default=[], metavar=("LABEL", "BENCHMARK"))
    parser.add_argument("--seed", type=int, default=42, help="seed of the bootstrap")
    parser.add_argument("--table", type=Path, required=True, help="the comparison, TSV")
    parser.add_argument("--output", type=Path, required=True, help="the comparison, Parquet")
    parser.add_argument("--plot", type=Path, required=True, help="SVG")
    parser.add_argument("--summary", type=Path, required=True, help="a paragraph, Markdown")
    arguments = parser.parse_args(argv)
    groups = {label: benchmarks for label, *benchmarks in arguments.group}
    for label, benchmarks in groups.items():
        if not benchmarks or label == AVERAGE:
            raise UserError(f"the group {label} cannot be: give it another name than {AVERAGE} and its benchmarks.")
    runs: dict[str, list[tuple[Path, Path]]] = {}
    for name, scores, grades in arguments.arm:
        runs.setdefault(name, []).append((Path(scores), Path(grades)))
    arms = [Arm.read(name, [one for one, _ in files], [two for _, two in files]) for name, files in runs.items()]
    table = compare(arms, arguments.compare_to, groups, arguments.seed)
    write_table(table, arguments.output, COMPARISON)
    write_tsv(table, arguments.table)
    drawn = table if len(arms[0].benchmarks) > 1 else table.filter(table["benchmark"] != AVERAGE)
    save_svg(error_bars(drawn, "arm", "benchmark"), arguments.plot)
    write_text(summary(arguments.experiment, arms, table, arguments.compare_to, arguments.seed), arguments.summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
