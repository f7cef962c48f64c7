"""Check that a run can succeed, before anything is booked: one table of what is fine, and what to do about the rest.

Checks what every kind of job will ask of the cluster that the profile names (none: this machine) against what it takes
and allows, the engines' environments and the driver, the keys of hosted models and the days on which they end, the
lock, the access to gated datasets and models, the store, and the disk of each file system. Unless `--offline` is given,
the hub is asked whether it may be read, and each hosted model is sent short requests in the form that jobs send it.
What could not be checked is listed at the end. Ends with status 1 where something needs to be done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openthoughts.base.cli import command
from openthoughts.base.environments import is_there
from openthoughts.costs.preflight.allocations import allocation_checks
from openthoughts.costs.preflight.checks import Check, output_of, skipped
from openthoughts.costs.preflight.cluster import Cluster, cluster_checks
from openthoughts.costs.preflight.disk import disk_checks, store_check
from openthoughts.costs.preflight.engines import environment_checks, needed_engines
from openthoughts.costs.preflight.hosted import key_checks, shutdown_checks
from openthoughts.costs.preflight.hub import access_checks, fetched_checks
from openthoughts.costs.preflight.trials import trial_checks
from openthoughts.plan.plan_file import Configured, add_plan_arguments, configured
from openthoughts.plan.register import asked


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 where something needs to be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_plan_arguments(parser)
    parser.add_argument(
        "--cluster", default="", help="JSON: account, cpu_partition, gpu_partition, gpu_type, network_partition"
    )
    parser.add_argument("--allocations", type=Path, help="what jobs ask of the cluster, as the workflow wrote it down")
    parser.add_argument("--offline", action="store_true", help="ask neither hosted models nor the hub")
    options = parser.parse_args(argv)
    cluster = Cluster(**json.loads(options.cluster)) if options.cluster else None
    record = json.loads(options.allocations.read_text(encoding="utf-8")) if options.allocations else None
    checks = list(dict.fromkeys(looked_at(configured(options), cluster, record, options.offline)))
    print(table(checks))
    questioned = sorted({check.asked for check in checks if check.asked})
    done = "nothing was booked" + (f"; short requests went to {', '.join(questioned)}" if questioned else "")
    left_out = [check for check in checks if check.is_skipped]
    if left_out:
        print("Not checked:")
        for check in left_out:
            print(f"- {check.subject}, because {check.found}" + (f"; {check.remedy}" if check.remedy else ""))
    problems = sum(not check.ok for check in checks)
    if problems:
        print(f"{problems} of {len(checks)} need something to be done; {done}.")
        return 1
    fine = f"All {len(checks)} are fine" if not left_out else f"The {len(checks) - len(left_out)} checked are fine"
    print(f"{fine}; {done}.")
    return 0


def looked_at(of: Configured, cluster: Cluster | None, record: dict[str, Any] | None, offline: bool) -> Iterator[Check]:
    """Everything that can be found out about a plan on a cluster (none: this machine)."""
    plan = of.plan
    if cluster:
        yield from cluster_checks(cluster)
        if output_of("sinfo", "--noheader") is None:
            yield skipped("what jobs ask of the cluster", "sinfo does not answer")
        elif record:
            yield from allocation_checks(record)
        else:
            yield skipped("what jobs ask of the cluster", "only `snakemake preflight` with its SLURM executor knows it")
    yield from environment_checks(plan, of.accelerator, cluster)
    yield from key_checks(plan, os.environ)
    yield from shutdown_checks(plan)
    hosted = any(model.settings["entry"].get("kind") == "api" for model in asked(plan.index.values()))
    if not offline:
        yield from trial_checks(plan, of.store)
    elif hosted:
        yield skipped("requests to hosted models", "offline: none was sent")
    yield from fetched_checks(plan)
    yield from access_checks(plan, offline)
    yield store_check(of.store)
    unbuilt = [name for name in needed_engines(plan, of.accelerator) if not is_there(name)]
    yield from disk_checks(plan, of.store, unbuilt)


def table(checks: Sequence[Check]) -> str:
    """The checks as lines of aligned columns, each problem followed by its remedy."""
    width = max(len(check.subject) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.word:<8}{check.subject:<{width}}  {check.found}")
        if check.remedy and not check.is_skipped:
            lines.append(f"{'':<{8 + width}}  -> {check.remedy}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
