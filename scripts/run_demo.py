"""Run the demo: one shared server where answers are missing, the whole workflow, the report, and where things are.

A second run finds nothing to do and starts no server.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import merged, read_yaml
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan

ROOT = Path(__file__).resolve().parent.parent
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/demo")
ASKING = ("label_questions", "sample_answers", "sample_evaluation")


def demo_plan() -> Plan:
    """The plan of the demo's configuration, laid over the default one."""
    config = merged(read_yaml(ROOT / "config.yaml"), read_yaml(ROOT / "demo/config.yaml"))
    return make_plan(config, read_catalog(config["catalog"]))


def jobs_to_run() -> dict[str, int]:
    """Rule -> number of jobs that a dry run lists; empty where nothing is to be done."""
    run = subprocess.run([*SNAKEMAKE, "-n", "--quiet", "rules"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        sys.stderr.write(run.stdout + run.stderr)
        raise SystemExit(run.returncode)
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)}


def run_workflow(plan: Plan, jobs: dict[str, int]) -> int:
    """Run the workflow, behind a shared server of the demo's model where more than one job asks it."""
    teachers = {
        stage.input("model") for recipe in plan.recipes.values() for stage in recipe.stages() if stage.kind == "answers"
    }
    if sum(jobs.get(rule, 0) for rule in ASKING) == 0 or len(teachers) != 1:
        return subprocess.run(SNAKEMAKE, cwd=ROOT).returncode
    model = plan.path(teachers.pop())
    fetched = subprocess.run([*SNAKEMAKE, "--quiet", "rules", "--", model], cwd=ROOT).returncode
    if fetched:
        return fetched
    serve = (sys.executable, "scripts/serve_model.py", model, "--accelerator", "cpu", "--")
    return subprocess.run([*serve, *SNAKEMAKE], cwd=ROOT).returncode


def write_report(plan: Plan) -> int:
    """Write Snakemake's report of the finished demo."""
    return subprocess.run(
        [*SNAKEMAKE, "--quiet", "rules", "--report", f"{plan.results}/report.html"], cwd=ROOT
    ).returncode


def say_where(plan: Plan) -> None:
    """Print where the results are."""
    door = f"{plan.results}/recipes/demo"
    places = {
        "dataset": f"{door}/dataset/dataset.parquet",
        "student": f"{door}/model/model.json",
        "scores": f"{door}/plots/scores.tsv",
        "page": f"{door}/report.html",
        "report": f"{plan.results}/report.html",
    }
    for what, place in places.items():
        print(f"{what:<10}{place}")
    for name, experiment in plan.experiments.items():
        print(f"{'ablation':<10}{plan.path(experiment.stage, 'scores.tsv')} ({name})")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing of the demo."""
    plan = demo_plan()
    jobs = jobs_to_run()
    report = ROOT / plan.results / "report.html"
    if jobs:
        status = run_workflow(plan, jobs)
        if status:
            return status
    else:
        print("Nothing to be done (all requested files are present and up to date).")
    if jobs or not report.is_file():
        status = write_report(plan)
        if status:
            return status
    say_where(plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
