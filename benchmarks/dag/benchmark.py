"""What a dry run costs: processor time and memory of `snakemake -n`, for the default recipe and for many arms.

    .venv/bin/python -m benchmarks.dag.benchmark [--arms 1000]

The many arms are one experiment on a recipe of the default catalog that varies the seed of the answers, so that each
arm has its own answers, dataset, student and evaluation and shares the questions. Nothing is run and nothing fetched.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def many_arms(arms: int) -> dict[str, Any]:
    """A configuration with one experiment of so many arms."""
    recipe = {
        "decontaminate": {"benchmarks": ["aime24", "math500"]},
        "answers": {"teacher": "qwq-32b", "samples": 1, "shards": 20},
        "domains": {"math": {"sources": ["openmath-2-math"], "select": {"by": "random"}, "draw": 31600}},
        "training": {"student": "qwen2.5-7b-instruct", "scale": "medium", "nodes": 1, "gpus": 8},
        "evaluation": {"benchmarks": ["aime24", "math500"]},
    }
    experiment = {"base": "one", "vary": {"answers.seed": list(range(arms))}}
    return {"targets": ["many"], "recipes": {"one": recipe}, "experiments": {"many": experiment}}


def dry_run(*arguments: str) -> tuple[int, float, float, float]:
    """Jobs, processor seconds, wall seconds and memory (MB) of a dry run."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        start = os.times().elapsed
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        wall = os.times().elapsed - start
        output.seek(0)
        said = output.read()
    if status:
        sys.exit(said[-2000:])
    total = re.search(r"^total +(\d+)", said, re.MULTILINE)
    return int(total[1]) if total else 0, used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024


def main() -> int:
    """Print one line for each configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=1000)
    options = parser.parse_args()
    print("| configuration | jobs | processor s | wall s | memory MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.yaml"
        path.write_text(yaml.safe_dump(many_arms(options.arms)))
        for name, arguments in (
            ("default recipe", ()),
            ("default recipe, slurm profile", ("--workflow-profile", "profiles/slurm")),
            (f"{options.arms:,} arms", ("--configfile", str(path))),
        ):
            jobs, processor, wall, memory = dry_run(*arguments)
            print(f"| {name} | {jobs:,} | {processor:.1f} | {wall:.1f} | {memory:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
