"""Plot the time and memory that each rule took, from Snakemake's benchmark files.

Give --folder for a folder of RULE/*.jsonl, or --benchmark once for every file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.report.plot_data import usage, usage_files
from openthoughts.report.plots import save_svg, side_by_side, write_tsv


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", nargs=2, action="append", default=[], metavar=("RULE", "FILE"))
    parser.add_argument("--folder", type=Path, help="folder of RULE/*.jsonl")
    parser.add_argument("--output", type=Path, required=True, help="the plot, SVG")
    parser.add_argument("--table", type=Path, required=True, help="its numbers, TSV")
    arguments = parser.parse_args(argv)
    files = [(rule, Path(path)) for rule, path in arguments.benchmark]
    if arguments.folder:
        files += usage_files(arguments.folder)
    if not files:
        raise UserError("there is nothing to plot: give --folder or --benchmark.")
    table = usage(files)
    write_tsv(table, arguments.table)
    measures = {"seconds": "wall time of all jobs (s)", "memory_mb": "largest memory of a job (MB)"}
    save_svg(side_by_side(table, "rule", measures), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
