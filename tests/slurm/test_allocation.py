"""What SLURM allocates to every rule, by its own records, when a site has edited only the lines marked SITE."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from tests.fake_openai import MODEL, FakeServer
from tests.slurm.cluster import GPU_TYPE, GPUS, VirtualCluster
from tests.slurm.conftest import ACCOUNT, Site, tiny_recipe, wait_until

from openthoughts.base.environments import find

QUESTIONS = 6
TEACHER_GPUS = 4
NODES = 2

CONTAINER = """#!/bin/bash
# Plays a container that a site runs LLaMA-Factory in: `container exec PROGRAM ...`. Tokenising is done for real; of a
# training it is only noted where each node's process would have run, and when both have come, both fail.
shift
echo "$HF_HUB_OFFLINE $*" >> {folder}/container.txt
case "$*" in
*torch.distributed.run*)
  echo "$SLURM_PROCID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" >> {folder}/training.txt
  while [ "$(wc -l < {folder}/training.txt)" -lt {nodes} ]; do sleep 0.2; done
  sleep 2
  echo "no GPU was harmed" >&2
  exit 1 ;;
esac
program=$1; shift
exec {programs}/"$program" "$@"
"""


class Allocation(NamedTuple):
    """What a job gets: partition, nodes, cores of all nodes, GPUs of a node, memory of a node (MB), minutes."""

    partition: str
    nodes: int
    cores: int
    gpus: int
    memory: int
    minutes: int


ENGINE = Allocation("accelerated", 1, 1 + 3 * TEACHER_GPUS, TEACHER_GPUS, 64000 + 32000 * TEACHER_GPUS, 720)
EXPECTED = {
    "decontaminate": Allocation("normal", 1, 8, 0, 8000, 60),
    "parse_labels": Allocation("normal", 1, 1, 0, 8000, 60),
    "select_questions": Allocation("normal", 1, 1, 0, 8000, 30),
    "mix_sources": Allocation("normal", 1, 1, 0, 4000, 30),
    "limit_length": Allocation("normal", 1, 1, 0, 4000, 30),
    "deduplicate": Allocation("normal", 1, 8, 0, 8000, 60),
    "draw_questions": Allocation("normal", 1, 1, 0, 4000, 30),
    "sample_answers": Allocation(
        "accelerated", 1, 1 + 3 * TEACHER_GPUS, TEACHER_GPUS, 64000 + 32000 * TEACHER_GPUS, 720
    ),
    "merge_answers": Allocation("normal", 1, 1, 0, 16000, 120),
    "measure_answers": Allocation("normal", 1, 8, 0, 16000, 240),
    "filter_answers": Allocation("normal", 1, 8, 0, 16000, 120),
    "assemble_dataset": Allocation("normal", 1, 1, 0, 16000, 240),
    "tokenize_dataset": Allocation("normal", 1, 16, 0, 49000, 480),
    "train_student": Allocation("accelerated", NODES, 16 * NODES, GPUS, 200000, 2880),
    "sample_evaluation": Allocation(
        "accelerated", 1, 1 + 3 * TEACHER_GPUS, TEACHER_GPUS, 64000 + 32000 * TEACHER_GPUS, 720
    ),
    "grade_answers": Allocation("normal", 1, 8, 0, 8000, 120),
}


def allocation(job: dict[str, str]) -> Allocation:
    """The allocation that a record of SLURM's describes."""
    days, _, clock = job["TimeLimit"].rpartition("-")
    hours, minutes, _ = clock.split(":")
    # A number of nodes that a job still waits for is written as a range.
    nodes = int(job["NumNodes"].split("-")[0])
    gres = job.get("TresPerNode", "")
    assert not gres or gres.startswith(f"gres:gpu:{GPU_TYPE}:"), gres
    memory = job["MinMemoryNode"]
    return Allocation(
        job["Partition"],
        nodes,
        int(job["NumCPUs"]),
        int(gres.rpartition(":")[2] or 0),
        int(float(memory[:-1]) * {"M": 1, "G": 1024}[memory[-1]]),
        int(days or 0) * 1440 + int(hours) * 60 + int(minutes),
    )


@pytest.fixture
def container(site: Site) -> Path:
    """The folder in which the container notes what it was asked to run."""
    program = site.folder / "bin" / "container"
    programs = find("llamafactory-cpu").bin
    program.write_text(CONTAINER.format(folder=site.folder, nodes=NODES, programs=programs))
    program.chmod(0o755)
    site.variables["OPENTHOUGHTS_ENVIRONMENT_LLAMAFACTORY"] = f"{program} exec"
    return site.folder


def test_every_rule_gets_what_it_declares(
    cluster: VirtualCluster, site: Site, server: FakeServer, container: Path
) -> None:
    config = tiny_recipe(
        site,
        server,
        questions=QUESTIONS,
        shards=1,
        gpus=TEACHER_GPUS,
        training={
            "student": "teacher",
            "scale": "micro",
            "nodes": NODES,
            "gpus": GPUS,
            "overrides": {"cutoff": 512},
        },
        evaluation={"benchmarks": ["products"], "base": True},
    )
    labeller = {
        "kind": "api",
        "api_model": MODEL,
        "base_url": server.base_url,
        "api_key_variable": "FAKE_KEY",
        "tokenizer": "qwen",
    }
    models = site.folder / "own" / "models.yaml"
    models.write_text(yaml.safe_dump({**yaml.safe_load(models.read_text()), "labeller": labeller}))
    config["recipes"]["tiny"]["domains"]["math"]["select"] = {"by": "response_length", "model": "labeller"}
    (site.folder / "own.yaml").write_text(yaml.safe_dump(config))
    output = site.snakemake(*site.arguments("--retries", "0", "--until", "train_student", "grade_answers"), fails=True)

    jobs = site.by_rule()
    found = {rule: {allocation(job) for job in records} for rule, records in jobs.items()}
    assert found == {rule: {wanted} for rule, wanted in EXPECTED.items()}, output
    assert {job["Account"] for records in jobs.values() for job in records} == {ACCOUNT}
    states = {rule: {job["JobState"] for job in records} for rule, records in jobs.items()}
    assert {rule for rule, state in states.items() if state != {"COMPLETED"}} == {"train_student"}
    for folder in ("sources", "benchmarks", "models", "labels"):
        assert list((site.folder / "results" / folder).glob("*/*.*")), "what needs the internet ran on the login node"

    where = {tuple(line.split()) for line in (container / "training.txt").read_text().splitlines()}
    devices = ",".join(map(str, range(GPUS)))
    assert where == {("0", "g1", devices), ("1", "g2", devices)}, "one task on each node, with all of its GPUs"
    commands = (container / "container.txt").read_text().splitlines()
    assert all(line.startswith("1 python ") for line in commands), "engines are kept off the hub"
    assert "no GPU was harmed" in output, "the failed program's log is shown"
    wait_until(lambda: not site.processes(), 60, what="the end of the training's processes")
