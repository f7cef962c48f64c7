"""Check that a run can succeed, before anything is booked: one table of what is fine, and what to do about the rest.

Checks the cluster that the profile names (none: this machine), the store, the disk, the engines' environments, the
keys of hosted models, and the lock. Unless `--offline` is given, each hosted model is sent short requests in the form
that jobs send it. Ends with status 1 where something needs to be done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from openthoughts.base.cli import command
from openthoughts.costs.preflight import (
    Check,
    Cluster,
    cluster_checks,
    disk_check,
    environment_checks,
    fetched_checks,
    key_checks,
    store_check,
)
from openthoughts.costs.trials import trial_checks
from openthoughts.plan.plan_file import add_plan_arguments, configured


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 where something needs to be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_plan_arguments(parser)
    parser.add_argument(
        "--cluster", default="", help="JSON: account, cpu_partition, gpu_partition, gpu_type, network_partition"
    )
    parser.add_argument("--offline", action="store_true", help="send no requests to hosted models")
    options = parser.parse_args(argv)
    of = configured(options)
    plan = of.plan
    checks: list[Check] = []
    if options.cluster:
        checks += cluster_checks(Cluster(**json.loads(options.cluster)))
    checks += environment_checks(plan, of.accelerator)
    checks += key_checks(plan, os.environ)
    checks += [] if options.offline else trial_checks(plan, of.store)
    checks += fetched_checks(plan)
    checks += [store_check(of.store), disk_check(plan)]
    print(table(checks))
    asked = sorted({check.asked for check in checks if check.asked})
    done = "nothing was booked" + (f"; short requests went to {', '.join(asked)}" if asked else "")
    problems = sum(not check.ok for check in checks)
    if problems:
        print(f"{problems} of {len(checks)} need something to be done; {done}.")
        return 1
    print(f"All {len(checks)} are fine; {done}.")
    return 0


def table(checks: Sequence[Check]) -> str:
    """The checks as lines of aligned columns, each problem followed by its remedy."""
    width = max(len(check.subject) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.word:<8}{check.subject:<{width}}  {check.found}")
        if not check.ok:
            lines.append(f"{'':<{8 + width}}  -> {check.remedy}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
