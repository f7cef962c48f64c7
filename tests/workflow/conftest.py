"""A copy of the checkout in which tests run Snakemake, and a recipe small enough to run in seconds.

The recipe has two sources of the test's own and asks a real HTTP server on loopback; it ends at the dataset, so that
it needs no engine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fake_openai import API_KEY, FakeServer

ROOT = Path(__file__).resolve().parents[2]
CODE = (
    "Makefile", "README.md", "Snakefile", "catalog", "config.yaml", "demo", "envs", "experiments", "profiles", "report",
    "rules", "schemas", "scripts", "workflow",
)  # fmt: skip


class Checkout:
    """A checkout of its own, and Snakemake in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in CODE:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        self.variables = {**os.environ, "FAKE_KEY": API_KEY, "OPENTHOUGHTS_ENVIRONMENTS": str(ROOT / ".environments")}

    def snakemake(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        """Run Snakemake, with more variables in its environment; its output. It must end as expected."""
        command = [sys.executable, "-m", "snakemake", *arguments]
        environment = {**self.variables, **variables}
        run = subprocess.run(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert bool(run.returncode) is fails, f"{self.logs_of(run.stdout)}\n{run.stdout}"
        return run.stdout

    def logs_of(self, output: str) -> str:
        """The ends of the logs of the jobs that failed, by what Snakemake has printed of them."""
        failed = output.partition("Error in rule ")[2]
        paths = [self.folder / name for name in re.findall(r"^ +log: ([^ ,]+)", failed, re.MULTILINE)]
        return "\n".join(f"{path}:\n{path.read_text()[-3000:]}" for path in paths if path.is_file())

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Rule -> jobs that a dry run lists."""
        output = self.snakemake(*arguments, "-n", "--quiet", "rules")
        table = output.split("Job stats:")[-1]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    def write_config(self, config: dict[str, Any], name: str = "own.yaml") -> str:
        """Write a configuration file and return the name to pass to ``--configfile``."""
        (self.folder / name).write_text(yaml.safe_dump(config))
        return name


@pytest.fixture(scope="session")
def server() -> Iterator[FakeServer]:
    """The server that plays every model."""
    with FakeServer() as running:
        yield running


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout shared by the tests of a module."""
    return Checkout(tmp_path_factory.mktemp("checkout"))


def small_config(checkout: Checkout, server: FakeServer) -> dict[str, Any]:
    """A recipe of two small sources, answered by the server; its catalog is written into the checkout."""
    catalog = checkout.folder / "own"
    (catalog / "prompts").mkdir(parents=True, exist_ok=True)
    (catalog / "prompts" / "rubric.md").write_text("How hard is this from 1 to 10?\n\n{{ question }}\n")
    for source, domain in (("sums", "math"), ("programs", "code")):
        rows = [{"question": f"What is {number} plus {number} in {domain}?"} for number in range(12)]
        (catalog / f"{source}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {
        source: {
            "connector": "local",
            "domain": domain,
            "path": f"own/{source}.jsonl",
            "column": "question",
            "rows": 12,
        }
        for source, domain in (("sums", "math"), ("programs", "code"))
    }
    benchmark = {"connector": "local", "domain": "math", "path": "own/benchmark.jsonl", "column": "question"}
    (catalog / "benchmark.jsonl").write_text(json.dumps({"question": "How many roads must a man walk down?"}) + "\n")
    model = {
        "kind": "api",
        "api_model": "fake-model",
        "base_url": server.base_url,
        "api_key_variable": "FAKE_KEY",
        "tokenizer": "qwen",
    }
    (catalog / "sources.yaml").write_text(yaml.safe_dump(sources))
    (catalog / "benchmarks.yaml").write_text(yaml.safe_dump({"roads": {**benchmark, "grader": "none"}}))
    (catalog / "models.yaml").write_text(yaml.safe_dump({"oracle": model}))
    return {
        "targets": ["tiny"],
        "catalog": ["catalog", "own"],
        "results": "results/tiny",
        "store": "store/tiny",
        "recipes": {
            "tiny": {
                "decontaminate": {"benchmarks": ["roads"]},
                "answers": {"teacher": "oracle", "samples": 2, "answers_per_shard": 8},
                "domains": {
                    "math": {
                        "sources": ["sums"],
                        "select": {"by": "response_length", "model": "oracle", "keep": 10},
                        "draw": 8,
                    },
                    "code": {
                        "sources": ["programs"],
                        "select": {"by": "difficulty", "model": "oracle", "prompt": "rubric", "keep": 8},
                        "deduplicate": {"level": "none"},
                    },
                },
            }
        },
    }
