"""Say what a configuration will cost before anything is booked: jobs, requests, tokens, dollars, GPU-hours, disk.

One table a recipe, one an experiment (each arm: what it shares with the arms before it, and what it adds), and one for
everything together, where what several recipes share counts once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lib.catalog import read_catalog
from lib.cli import command
from lib.config import read_config
from lib.estimates import estimate, estimate_stage, rows_of_table, total
from lib.plan import ExperimentPlan, Plan, Stage, make_plan
from lib.tables import write_text


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the estimates, and write them as a table where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, nargs="+", required=True, help="configuration files, the last one wins")
    parser.add_argument("--set", default="{}", help="settings that win over the files (JSON object)")
    parser.add_argument("--gpus", type=int, default=64, help="GPUs of which wall time is told")
    parser.add_argument("--output", type=Path, help="plan.tsv")
    options = parser.parse_args(argv)
    config = read_config(options.config, options.set)
    plan = make_plan(config, read_catalog(config.get("catalog", ["catalog"])))

    table: list[dict[str, Any]] = []
    for name, recipe in plan.recipes.items():
        table += show(f"recipe {name}", recipe.stages())
    for experiment in plan.experiments.values():
        show_arms(experiment)
    everything = list(dict.fromkeys(_all_stages(plan)))
    if plan.experiments or len(plan.recipes) > 1:
        table += show("everything", everything)
    whole = total(estimate(everything).values())
    if whole.gpu_hours:
        print(f"{whole.gpu_hours / options.gpus:,.1f} hours on {options.gpus} GPUs that are never idle.")
    cap = (config.get("budget") or {}).get("usd")
    if cap is not None and whole.usd > cap:
        print(f"warning: about ${whole.usd:,.0f} are expected, the budget is ${cap:,.0f}: asking stops there.")
    for warning in plan.warnings:
        print(f"warning: {warning}")
    for gap in sorted(whole.unknown):
        print(f"not counted: the catalog does not say the {gap}.")
    if options.output:
        write_table(table, options.output)
    return 0


def _all_stages(plan: Plan) -> Iterable[Stage]:
    for recipe in plan.recipes.values():
        yield from recipe.stages()
    for experiment in plan.experiments.values():
        yield from experiment.stages()


def show(title: str, stages: Iterable[Stage]) -> list[dict[str, Any]]:
    """Print the stages that cost something, and the sum; returns the rows of all."""
    rows = [{"what": title, **row} for row in rows_of_table(estimate(stages))]
    print(f"\n{title}")
    print(f"{'stage':<14}{'jobs':>7}{'requests':>13}{'tokens in':>16}{'tokens out':>18}", end="")
    print(f"{'$ live':>11}{'$ batch':>11}{'GPU-hours':>11}{'disk GB':>10}")
    for row in (row for row in rows if row["requests"] or row["gpu_hours"] or row["disk_gb"]):
        print(f"{row['stage']:<14}{row['jobs']:>7,}{row['requests']:>13,}{row['input_tokens']:>16,}", end="")
        print(f"{row['output_tokens']:>18,}{row['usd_live']:>11,.2f}{row['usd_batch']:>11,.2f}", end="")
        print(f"{row['gpu_hours']:>11,.1f}{row['disk_gb']:>10,.1f}")
    return rows


def show_arms(experiment: ExperimentPlan) -> None:
    """Print what each arm shares with the arms before it and what it adds."""
    print(f"\nexperiment {experiment.name}: what each arm adds to those before it")
    if experiment.about:
        print(experiment.about)
    print(f"{'arm':<32}{'shared':>8}{'adds':>7}{'jobs':>7}{'requests':>13}{'tokens out':>18}", end="")
    print(f"{'$ live':>11}{'GPU-hours':>11}")
    seen: set[Stage] = set()
    for arm in experiment.evaluations:
        stages = experiment.arm_stages(arm)
        new = [stage for stage in stages if stage not in seen]
        added = total(estimate_stage(stage) for stage in new)
        print(f"{arm:<32}{len(stages) - len(new):>8,}{len(new):>7,}{added.jobs:>7,}{added.requests:>13,}", end="")
        print(f"{added.output_tokens:>18,.0f}{added.usd:>11,.2f}{added.gpu_hours:>11,.1f}")
        seen |= set(new)


def write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the rows as tab-separated values."""
    lines = ["\t".join(rows[0]), *("\t".join(str(value) for value in row.values()) for row in rows)]
    write_text("\n".join(lines) + "\n", path)


if __name__ == "__main__":
    sys.exit(main())
