"""Compare the arms of an experiment: a table with errors, a plot, and a paragraph written from the numbers.

Give --arm once for every run of an arm: an arm named several times has several runs (draws of the data, training
seeds). Differences are of a paired bootstrap over the questions that both arms answered.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.cli import UserError, command
from openthoughts.base.tables import write_table, write_text
from openthoughts.experiments.comparison import AVERAGE, COMPARISON, Arm, compare, summary, with_points
from openthoughts.report.plots import error_bars, save_svg, score_curves, score_matrix, write_tsv


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=Path, help="arms.json of list_arms, in place of the next five")
    parser.add_argument("--experiment", help="name of the experiment")
    parser.add_argument("--arm", nargs=3, action="append", default=[], metavar=("NAME", "SCORES", "GRADES"))
    parser.add_argument("--compare-to", metavar="ARM", help="the arm that the others are compared to")
    parser.add_argument("--group", nargs="+", action="append", default=[], metavar=("LABEL", "BENCHMARK"))
    parser.add_argument("--seed", type=int, default=42, help="seed of the bootstrap")
    parser.add_argument("--table", type=Path, required=True, help="the comparison, TSV")
    parser.add_argument("--output", type=Path, required=True, help="the comparison, Parquet")
    parser.add_argument("--plot", type=Path, required=True, help="SVG")
    parser.add_argument("--summary", type=Path, required=True, help="a paragraph, Markdown")
    arguments = parser.parse_args(argv)
    asked = _asked(arguments)
    groups: dict[str, list[str]] = asked.get("groups", {})
    for label, benchmarks in groups.items():
        if not benchmarks or label == AVERAGE:
            raise UserError(f"the group {label} must list benchmarks and may not be named {AVERAGE}.")
    arms = [
        Arm.read(name, [Path(scores) for scores, _ in runs], [Path(grades) for _, grades in runs])
        for name, runs in asked["arms"].items()
    ]
    averaged = asked.get("averaged") or arms[0].benchmarks
    published = asked.get("published") or {}
    figures = published.get("arms", {})
    compare_to, seed = asked["compare_to"], arguments.seed
    table = compare(arms, compare_to, groups, seed, averaged, figures)
    write_table(table, arguments.output, COMPARISON)
    write_tsv(table, arguments.table)
    save_svg(drawn(table, asked, averaged, groups), arguments.plot)
    source = published.get("source", "")
    text = summary(asked["experiment"], arms, table, compare_to, seed, averaged, asked.get("about", ""), source)
    write_text(text, arguments.summary)
    return 0


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """What is compared and how, as list_arms writes it."""
    if arguments.arms is not None:
        asked: dict[str, Any] = json.loads(arguments.arms.read_text(encoding="utf-8"))
        return asked
    if not (arguments.arm and arguments.experiment and arguments.compare_to):
        raise UserError("there is nothing to compare: give --arms, or --experiment, --compare-to and --arm.")
    runs: dict[str, list[list[str]]] = {}
    for name, *files in arguments.arm:
        runs.setdefault(name, []).append(files)
    return {
        "experiment": arguments.experiment,
        "compare_to": arguments.compare_to,
        "arms": runs,
        "groups": {label: benchmarks for label, *benchmarks in arguments.group},
    }


def drawn(
    table: pl.DataFrame, asked: Mapping[str, Any], averaged: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> Any:
    """The plot of a comparison: bars, curves or a matrix."""
    shown = table if len(averaged) > 1 else table.filter(pl.col("benchmark") != AVERAGE)
    if asked.get("plot") == "matrix":
        panels = list(groups) or sorted(set(table["benchmark"]) - {AVERAGE})
        return score_matrix(table.filter(pl.col("benchmark").is_in(panels)), panels)
    if asked.get("plot") == "curve":
        points = {arm: point for arm, point in asked["points"].items() if point[0] is not None}
        if len({x for x, _ in points.values()}) > 1:
            return score_curves(with_points(shown, points), asked["x"])
    return error_bars(shown, "arm", "benchmark")


if __name__ == "__main__":
    sys.exit(main())
