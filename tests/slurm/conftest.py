"""The virtual cluster, and the tiny recipe of the workflow's tests run on it through ``profiles/slurm``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from filelock import FileLock
from tests.fake_openai import API_KEY, MODEL, FakeServer
from tests.slurm.cluster import CONFIGURATION, GPU_TYPE, STATE, VirtualCluster, obstacle
from tests.tiny_model import make_tiny_model
from tests.workflow.conftest import Checkout

from openthoughts.base.hashing import question_id, shard_of
from openthoughts.inference.endpoints import SERVERS_VARIABLE

ACCOUNT = "physics"
SITE = {
    "slurm_account": f"'{ACCOUNT}'",
    "slurm_partition": "'normal'",
    "gpu_partition": "'accelerated'",
    "gpu_type": f"'{GPU_TYPE}'",
    "gpu_card": "''",
}
"""What a site edits, but for the scratch folder, which is a test's own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts jobs of a real cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def cluster() -> Iterator[VirtualCluster]:
    """The cluster, up for the session; afterwards nothing of it is left."""
    reason = obstacle()
    if reason:
        pytest.skip(reason)
    with FileLock("/var/tmp/openthoughts-virtual-cluster.lock"), VirtualCluster() as running:
        yield running
    assert not CONFIGURATION.exists()
    assert not STATE.exists()
    daemons = [p for p in psutil.process_iter(["name", "status"]) if p.info["name"].startswith("slurm")]
    assert not [p for p in daemons if p.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """The server that plays every model of a test."""
    with FakeServer() as running:
        yield running


@pytest.fixture
def site(cluster: VirtualCluster, tmp_path: Path) -> Iterator[Site]:
    """A checkout on the cluster; afterwards none of its jobs and none of their processes is left."""
    own = Site(tmp_path, cluster)
    yield own
    for head in own.heads:
        if head.poll() is None:
            own.end(head, signal.SIGKILL)
    active = {job["JobId"] for job in own.records()} & set(cluster.active_jobs())
    if active:
        subprocess.run(["scancel", *sorted(active)], check=True)
        wait_until(lambda: not active & set(cluster.active_jobs()), what="the end of the test's jobs")
    wait_until(lambda: not own.processes(), 60, what="the end of the jobs' processes")


class Site(Checkout):
    """A checkout on the cluster's login node, whose profile has only the lines marked SITE edited."""

    def __init__(self, folder: Path, cluster: VirtualCluster) -> None:
        super().__init__(folder)
        self.cluster = cluster
        self.heads: list[subprocess.Popen[str]] = []
        self.scratch = folder / "scratch"
        self.edit_profile("slurm", {**SITE, "tmpdir": f"'{self.scratch}'"})
        self._play_accounting()
        self.first_job = max((int(job["JobId"]) for job in cluster.jobs()), default=0) + 1

    def edit_profile(self, name: str, values: dict[str, str]) -> None:
        """Edit lines of a profile as a site does: those marked SITE, which are exactly these."""
        path = self.folder / "profiles" / name / "config.yaml"
        lines, left = path.read_text().splitlines(), dict(values)
        for place, line in enumerate(lines):
            if "# SITE" in line:
                key = line.split(":")[0].strip()
                lines[place] = f'  {key}: "{left.pop(key)}"'
        assert not left, "these lines are not marked"
        path.write_text("\n".join(lines) + "\n")

    def _play_accounting(self) -> None:
        """The one thing that is not SLURM's own here: the list of a user's accounts, which needs a database."""
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "sacctmgr").write_text(f"#!/bin/sh\necho {ACCOUNT}\n")
        (folder / "sacctmgr").chmod(0o755)
        self.variables["PATH"] = f"{folder}:{os.environ['PATH']}"

    def arguments(self, *more: str, profile: str = "slurm") -> list[str]:
        """Snakemake's arguments of a run on the cluster."""
        config = ["--configfile", "own.yaml"]
        often = ["--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "20"]
        return ["--workflow-profile", f"profiles/{profile}", *config, *often, *more]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake and go on."""
        with (self.folder / "snakemake.log").open("w") as log:
            head = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *arguments],
                cwd=self.folder,
                env=self.variables,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.heads.append(head)
        return head

    def end(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """Send a signal to the head process alone, and wait for its end."""
        process.send_signal(number)
        process.wait(60)

    def log(self) -> str:
        """What the head process that was started last has said."""
        return (self.folder / "snakemake.log").read_text()

    def records(self, since: int | None = None) -> list[dict[str, str]]:
        """SLURM's records of the jobs that were submitted from here (since a job)."""
        first = self.first_job if since is None else since
        return [job for job in self.cluster.jobs() if int(job["JobId"]) >= first and job["WorkDir"] == str(self.folder)]

    def by_rule(self, since: int | None = None) -> dict[str, list[dict[str, str]]]:
        """SLURM's records by the rule that they ran."""
        found: dict[str, list[dict[str, str]]] = {}
        for job in self.records(since):
            rule = job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
            found.setdefault(rule, []).append(job)
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process that works in the checkout."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd().startswith(str(self.folder)) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def next_job(self) -> int:
        """The number that the next job gets at the least."""
        return max((int(job["JobId"]) for job in self.cluster.jobs()), default=0) + 1


def wait_until(condition: Callable[[], Any], seconds: float = 120, what: str = "") -> Any:
    """The first true value of a condition. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.3)
    pytest.fail(f"not seen within {seconds:g} s: {what or condition}")


ANSWERS_PER_QUESTION = 2


def tiny_recipe(
    site: Site, server: FakeServer, questions: int, shards: int, gpus: int = 1, **more: Any
) -> dict[str, Any]:
    """A recipe of one small source, its teacher a model with weights that is served on so many GPUs.

    The test's server plays it: jobs find it as they find a server that a user keeps up, by ``OPENTHOUGHTS_SERVERS``.
    Further keys are the recipe's.
    """
    catalog = site.folder / "own"
    catalog.mkdir()
    model = make_tiny_model(site.folder / "tiny-model")
    played = {"base_url": server.base_url, "api_key": API_KEY, "model_name": MODEL}
    site.variables[SERVERS_VARIABLE] = json.dumps({model.key_digest(): played})
    serving = {"tensor_parallel": gpus, "concurrency": 2}
    teacher = {
        "kind": "folder",
        "path": "tiny-model/weights",
        "max_model_len": 2048,
        "tokenizer": "qwen",
        "template": "smollm2",
    }
    rows = [{"question": f"What is {number} plus {number}?", "answer": f"{2 * number}"} for number in range(questions)]
    (catalog / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (catalog / "products.jsonl").write_text(
        json.dumps({"question": "Name the product of the first four primes.", "answer": "210"}) + "\n"
    )
    table = {"connector": "local", "domain": "math", "column": "question"}
    source = {**table, "path": "own/sums.jsonl", "rows": questions}
    benchmark = {**table, "path": "own/products.jsonl", "reference": "answer", "grader": "math"}
    for name, entries in (
        ("models", {"teacher": {**teacher, "serving": serving}}),
        ("sources", {"sums": source}),
        ("benchmarks", {"products": benchmark}),
    ):
        (catalog / f"{name}.yaml").write_text(yaml.safe_dump(entries))
    recipe = {
        "decontaminate": {"benchmarks": ["products"]},
        "answers": {"teacher": "teacher", "samples": ANSWERS_PER_QUESTION, "shards": shards},
        "domains": {"math": {"sources": ["sums"], "select": {"by": "random"}, "deduplicate": {"level": "none"}}},
        **more,
    }
    config = {"targets": ["tiny"], "catalog": ["catalog", "own"], "recipes": {"tiny": recipe}}
    site.write_config(config)
    return config


def question_shard(body: dict[str, Any], shards: int) -> int:
    """The shard that a request belongs to."""
    return shard_of(question_id(body["messages"][-1]["content"]), shards)
