"""Write down the arms of an experiment: their scores and grades, and how they are compared and drawn.

The arms are read off the plan, so that an experiment may have any number of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.base.tables import write_text
from openthoughts.plan.plan_file import read_plan
from openthoughts.plan.stages import Plan


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True, help="plan that the workflow wrote")
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="arms.json")
    options = parser.parse_args(argv)
    plan = read_plan(options.plan).plan
    if options.experiment not in plan.experiments:
        raise UserError(f"{options.plan} has no experiment {options.experiment}: correct --experiment.")
    write_text(json.dumps(described(plan, options.experiment), indent=1, ensure_ascii=False) + "\n", options.output)
    return 0


def described(plan: Plan, name: str) -> dict[str, object]:
    """The settings of a comparison, and for each arm its runs: paths of scores and grades."""
    experiment = plan.experiments[name]
    return {
        "experiment": name,
        "about": experiment.about,
        **{key: value for key, value in experiment.stage.settings.items() if key not in {"experiment", "arms"}},
        "arms": {
            arm: [[plan.path(stage), plan.path(stage, "grades.parquet")] for stage in stages]
            for arm, stages in experiment.evaluations.items()
        },
        "students": {
            arm: [recipe.student.id for recipe in recipes if recipe.student] for arm, recipes in experiment.arms.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
