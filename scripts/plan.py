"""Say what a configuration will cost before anything is booked: jobs, requests, tokens, dollars, GPU-hours, disk.

One table per recipe, one per experiment (each arm: what it shares with the arms before it, and what it adds), and one
for everything together, where what several recipes share counts once. It also reports what has run already: answers
that need not be asked for again, what was spent, and what the estimate becomes with it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openthoughts.base.cli import command
from openthoughts.base.tables import write_text
from openthoughts.base.terminal import print_table
from openthoughts.costs.basis import basis
from openthoughts.costs.estimates import (
    Estimate,
    budget_warnings,
    by_name,
    estimate,
    estimate_stage,
    held_gpus,
    request_hours,
    rows_of_table,
    total,
)
from openthoughts.costs.fitting import memory_lines, memory_warnings
from openthoughts.costs.measured import Measured
from openthoughts.costs.sharing import Together
from openthoughts.costs.shutdowns import shutdown_warnings
from openthoughts.plan.plan_file import add_plan_arguments, configured
from openthoughts.plan.register import inference
from openthoughts.plan.stages import ExperimentPlan, Plan, Stage

if TYPE_CHECKING:
    from openthoughts.costs.remaining import End, Left


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the estimates, and write them as a table where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_plan_arguments(parser)
    parser.add_argument("--gpus", type=int, default=64, help="GPUs to compute the wall time for")
    parser.add_argument("--output", type=Path, help="plan.tsv")
    options = parser.parse_args(argv)
    of = configured(options)
    config, plan = of.config, of.plan

    measured = measured_so_far(plan, of.store, of.settings.gpu)
    table: list[dict[str, Any]] = []
    for name, recipe in plan.recipes.items():
        table += show(f"recipe {name}", recipe.stages(), by_name([recipe], config["recipes"]), measured)
    for experiment in plan.experiments.values():
        show_arms(experiment, measured)
    everything = list(dict.fromkeys(_all_stages(plan)))
    named = by_name(plan.recipes.values(), config["recipes"], len(plan.experiments))
    if plan.experiments or len(plan.recipes) > 1:
        table += show("everything", everything, named, measured)
    whole = total(estimate(everything, measured).values())
    show_ranges(whole, everything, options.gpus, of.settings.gpu, measured)
    show_basis(everything, measured, of.settings.gpu)
    table += show_spent(plan, everything, of.store, of.accelerator, measured)
    budget = of.settings.budget.model_dump()
    told = (*budget_warnings(whole, budget), *shutdown_warnings(everything), *memory_warnings(everything))
    for warning in (*told, *plan.warnings):
        print(f"warning: {warning}")
    show_unknown(whole)
    if options.output:
        write_table(table, options.output)
    return 0


def measured_so_far(plan: Plan, store: Path, gpu: str | None) -> Measured:
    """What has run, below the results and in the store."""
    if not (Path(plan.results).is_dir() or store.is_dir()):
        return Measured()
    from openthoughts.costs.measuring import measure

    return measure(plan, store, gpu)


def _all_stages(plan: Plan) -> Iterable[Stage]:
    for recipe in plan.recipes.values():
        yield from recipe.stages()
    for experiment in plan.experiments.values():
        yield from experiment.stages()


def show(title: str, stages: Iterable[Stage], named: Estimate, measured: Measured) -> list[dict[str, Any]]:
    """Print the stages that cost something, and the sum; returns the rows of all."""
    stages = list(stages)
    estimates = {**estimate(stages, measured), "by name": named}
    rows = [{"what": title, **row} for row in rows_of_table(estimates)]
    print(f"\n{title}")
    heads = ["stage", "jobs", "requests", "tokens in", "tokens out", "$ live", "$ batch", "GPU-hours", "disk GB"]
    print_table(heads, (_cells(row) for row in rows if any(row[name] or name in row["unknown"] for name in TOLD)))
    if kinds := uncertain(stages):
        print(f"at most: {', '.join(kinds)} of one source may share questions, how many is not known.")
    return rows


TOLD = ("requests", "gpu_hours", "disk_gb")
"""What a stage must take, of one of these, to be told."""

COLUMNS = {
    "jobs": ("jobs", ",d"),
    "requests": ("requests", ",d"),
    "input_tokens": ("input_tokens", ",d"),
    "output_tokens": ("output_tokens", ",d"),
    "usd_live": ("usd", ",.2f"),
    "usd_batch": ("usd", ",.2f"),
    "gpu_hours": ("gpu_hours", ",.1f"),
    "disk_gb": ("disk_gb", ",.1f"),
}
"""Columns of the table, each with the quantity that may be known in part, and how it is written."""


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [row["stage"], *(_told(row, name) for name in COLUMNS)]


def _told(row: Mapping[str, Any], name: str) -> str:
    quantity, spec = COLUMNS[name]
    return _cell(row[name], spec, quantity in row["unknown"])


def _cell(value: float, spec: str, is_part: bool) -> str:
    """A number; one that is known in part has a plus, one of which nothing is known is a question mark."""
    return ("?" if not value else f"{value:{spec}}+") if is_part else f"{value:{spec}}"


def show_unknown(whole: Estimate) -> None:
    """Print what is missing to know a quantity, and where it is given."""
    told: dict[str, list[str]] = {}
    for quantity, missing in whole.unknown.items():
        for each in missing:
            told.setdefault(each, []).append(NAMES[quantity])
    for each, quantities in sorted(told.items()):
        remedy = next((how for word, how in REMEDIES.items() if each.startswith(word)), "")
        print(f"at least, as the {each} is not known: {', '.join(quantities)}{remedy and f' ({remedy})'}.")


NAMES = {
    "requests": "requests",
    "input_tokens": "tokens in",
    "output_tokens": "tokens out",
    "usd": "dollars",
    "gpu_hours": "GPU-hours",
    "disk_gb": "disk",
}
"""Quantities in words."""

REMEDIES = {
    "GPU": "name it with `gpu` in the configuration: catalog/gpus.yaml",
    "architecture": "`snakemake lock` notes it, or give it as `architecture` in the catalog",
    "parameters": "give them as `parameters` in the catalog",
    "price": "give it as `price` in the catalog",
    "answer length": "give it as `serving: {tokens_per_answer: …}` in the catalog",
    "rows": "give them as `rows` in the catalog",
}
"""What gives what is missing."""


def uncertain(stages: Iterable[Stage]) -> list[str]:
    """The kinds of stages that may share more requests than is known."""
    together = Together()
    for stage in stages:
        together.add(stage)
    return together.uncertain()


def show_arms(experiment: ExperimentPlan, measured: Measured) -> None:
    """Print what each arm shares with the arms before it and what it adds; a request of both counts once."""
    print(f"\nexperiment {experiment.name}: what each arm adds to those before it")
    if experiment.about:
        print(experiment.about)
    rows: list[list[str]] = []
    seen: set[Stage] = set()
    together = Together()
    for arm in experiment.evaluations:
        stages = experiment.arm_stages(arm)
        new = [stage for stage in stages if stage not in seen]
        added = total(estimate_stage(stage, measured).bought(together.add(stage)) for stage in new)
        (row,) = (row for row in rows_of_table({"adds": added}) if row["stage"] == "adds")
        rows.append([arm, f"{len(stages) - len(new):,}", f"{len(new):,}", *(_told(row, name) for name in OF_AN_ARM)])
        seen |= set(new)
    print_table(["arm", "shared", "adds", "jobs", "requests", "tokens out", "$ live", "GPU-hours"], rows)


OF_AN_ARM = ("jobs", "requests", "output_tokens", "usd_live", "gpu_hours")
"""What is told of an arm."""


def show_ranges(whole: Estimate, stages: Sequence[Stage], gpus: int, gpu: str | None, measured: Measured) -> None:
    """Print how far dollars and GPU-hours may lie from the estimate, and the time that limits and GPUs leave."""
    print("\nThe jobs are those that a dry run lists, except its target (`all`).")
    at_least = {quantity: "At least " if whole.unknown.get(quantity) else "" for quantity in ("usd", "gpu_hours")}
    if whole.usd:
        dates = ", ".join(price_dates(stages))
        print(f"{at_least['usd']}${whole.usd_low:,.0f} to ${whole.usd_high:,.0f} at live prices ({dates}).")
    if whole.gpu_hours >= 1:
        of = f" of {gpu}" if gpu else ""
        print(
            f"{at_least['gpu_hours']}{whole.gpu_hours_low:,.0f} to {whole.gpu_hours_high:,.0f} GPU-hours{of}: ", end=""
        )
        low, high = whole.gpu_hours_low / gpus, whole.gpu_hours_high / gpus
        print(f"{low:,.1f} to {high:,.1f} hours on {gpus} GPUs that are never idle.")
    if whole.scratch_gb:
        print(f"Up to {whole.scratch_gb:,.1f} GB more while a student is trained, for its checkpoints.")
    for line in memory_lines(stages, gpu):
        print(f"{line}.")
    for model, hours in request_hours(stages, measured).items():
        print(f"{hours:,.1f} hours of requests to {model}, at the limits of its `serving`.")


def show_basis(stages: Sequence[Stage], measured: Measured, gpu: str | None) -> None:
    """Print on which lengths and speeds the figures rest."""
    if lines := basis(stages, measured, gpu):
        print("\nwhat this rests on")
        print("\n".join((*lines, *measured.notes)))


def price_dates(stages: Iterable[Stage]) -> list[str]:
    """Of each hosted model that stages ask, when its price was looked up."""
    asked = {stage.input("model") for stage in stages if inference(stage)}
    prices = {model.settings["name"]: model.execution["price"] for model in asked if model.execution.get("price")}
    return [f"{name}: {price.get('as_of') or 'no date'}" for name, price in sorted(prices.items())]


def show_spent(
    plan: Plan, stages: Sequence[Stage], store: Path, accelerator: str, measured: Measured
) -> list[dict[str, Any]]:
    """Print what is there, spent and left, for each kind of stage that has run in part or in full; returns the rows."""
    results = Path(plan.results)
    if not results.is_dir():
        return []
    from openthoughts.costs.forecast import forecast
    from openthoughts.costs.remaining import answers_there, ends, left_of
    from openthoughts.costs.spending import Spent, price_of, spent
    from openthoughts.plan.shards import asked_shards

    there = answers_there((shard for shard in asked_shards(plan) if shard.stage in set(stages)), store)
    together = Together()
    shares = {stage: together.add(stage) for stage in stages}
    by_kind: dict[str, Spent] = {}
    took: dict[Stage, Spent] = {}
    for stage in stages:
        gpus = held_gpus(stage) if accelerator == "cuda" else 0
        shards = stage.execution.get("shards")
        took[stage] = spent(results / stage.folder, results / "usage", price_of(stage), gpus, shards)
        by_kind.setdefault(stage.kind, Spent())
        by_kind[stage.kind] += took[stage].bought(shares[stage])
    rows = []
    for kind, so_far in by_kind.items():
        of_kind = [stage for stage in stages if stage.kind == kind]
        known = sum(there.get(stage, 0) for stage in of_kind)
        if not so_far.jobs and not known:
            continue
        wanted = total(estimate_stage(stage, measured) for stage in of_kind)
        expected = total(forecast(stage, took[stage], measured, shares[stage]) for stage in of_kind)
        rows.append(_spent_row(kind, wanted, expected, so_far, known))
    if rows:
        _print_spent(rows)
    left = left_of(plan, stages, there, measured)
    coming = ends(left, store)
    if rows or coming:
        show_left(left, coming)
    show_tokenized(results / stage.folder / "statistics.json" for stage in stages if stage.kind == "tokenized")
    return rows


def show_left(left: Left, coming: Iterable[End]) -> None:
    """Print what is left to be asked and computed, and when models that answer now are done."""
    unknown = left.whole.unknown
    requests = _cell(left.whole.requests, ",d", "requests" in unknown)
    usd = _cell(left.whole.usd, ",.2f", "usd" in unknown)
    hours = _cell(left.whole.gpu_hours, ",.1f", "gpu_hours" in unknown)
    print(f"left: {requests} requests, {usd} dollars, {hours} GPU-hours")
    for end in coming:
        when = f"{datetime.fromtimestamp(end.when, UTC):%Y-%m-%d %H:%M} UTC"
        print(f"{end.model}: {end.rests_on}; at that speed the {end.requests:,} left are there by {when}.")


def show_tokenized(files: Iterable[Path]) -> None:
    """Print how many rows of the tokenised datasets that are there are trained on, cut and dropped."""
    from openthoughts.training.tokenize import read_statistics, summary_lines

    for path in files:
        if path.is_file():
            print(f"\ntokenised ({path.parent.name}): " + "; ".join(summary_lines(read_statistics(path))))


def _spent_row(kind: str, planned: Estimate, expected: Estimate, so_far: Any, known: int) -> dict[str, Any]:
    """A row of the table: what is planned of a kind, what is there and spent, and what to expect in the end."""
    (row,) = [row for row in rows_of_table({kind: planned}) if row["stage"] == kind]
    told = {key: (round(value, 2) if isinstance(value, float) else value) for key, value in vars(so_far).items()}
    return {
        "what": "so far", **row, **{f"spent_{key}": value for key, value in told.items()}, "answers_there": known,
        "expected_usd": round(expected.usd, 2), "expected_usd_low": round(expected.usd_low, 2),
        "expected_usd_high": round(expected.usd_high, 2), "expected_gpu_hours": round(expected.gpu_hours, 1),
        "expected_gpu_hours_low": round(expected.gpu_hours_low, 1),
        "expected_gpu_hours_high": round(expected.gpu_hours_high, 1),
    }  # fmt: skip


def _print_spent(rows: Sequence[Mapping[str, Any]]) -> None:
    print("\nplanned and spent so far (dollars at the catalog's live price)")
    heads = ["stage", "answers there", "tokens out", "$ spent", "GPU-hours", "hours", "in the end"]
    print_table(heads, map(_spent_cells, rows), left=["in the end"])


def _spent_cells(row: Mapping[str, Any]) -> list[str]:
    there = f"{row['answers_there']:,} of {row['requests']:,}" if row["requests"] else ""
    spent = [f"{row['spent_output_tokens']:,}", f"{row['spent_usd']:,.2f}"]
    hours = [f"{row['spent_gpu_hours']:,.1f}", f"{row['spent_hours']:,.1f}"]
    end = []
    if row["expected_usd"]:
        end.append(f"${row['expected_usd_low']:,.2f} to ${row['expected_usd_high']:,.2f}")
    if row["expected_gpu_hours"]:
        end.append(f"{row['expected_gpu_hours_low']:,.1f} to {row['expected_gpu_hours_high']:,.1f} GPU-hours")
    return [row["stage"], there, *spent, *hours, "   ".join(end)]


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the rows as tab-separated values; what a row does not have is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["\t".join(names), *("\t".join(str(row.get(name, "")) for name in names) for row in rows)]
    write_text("\n".join(lines) + "\n", path)


if __name__ == "__main__":
    sys.exit(main())
