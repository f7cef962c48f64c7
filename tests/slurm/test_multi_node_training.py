"""A training over two nodes that loses one of them in the middle, and goes on."""

from __future__ import annotations

import shutil

import polars as pl
import pytest
import yaml
from tests.fake_openai import FakeServer
from tests.slurm.cluster import VirtualCluster
from tests.slurm.conftest import Site, tiny_recipe, wait_until

from openthoughts.training.checkpoints import checkpoints, whole

NODES = 2
QUESTIONS = 12


def losses(site: Site) -> pl.DataFrame:
    """Step, loss and learning rate of every step of the student's training."""
    (metrics,) = (site.folder / "results/students").glob("*/metrics.parquet")
    return pl.read_parquet(metrics).select("step", "loss", "learning_rate").sort("step")


def whole_checkpoints(site: Site) -> int:
    runs = (site.folder / "results/students").glob(f"*/training-*/run-{NODES}")
    return sum(whole(path) is not None for run in runs for path in checkpoints(run))


@pytest.mark.timeout(1800)
def test_a_training_that_loses_a_node_goes_on_with_the_same_losses(
    cluster: VirtualCluster, site: Site, server: FakeServer
) -> None:
    overrides = {"global_batch": 4, "epochs": 3, "cutoff": 512, "save_steps": 2}
    training = {"student": "teacher", "scale": "micro", "nodes": NODES, "gpus": 1, "overrides": overrides}
    config = tiny_recipe(site, server, questions=QUESTIONS, shards=1, training=training)
    (site.folder / "own.yaml").write_text(yaml.safe_dump({**config, "accelerator": "cpu"}))
    site.snakemake("--configfile", "own.yaml", "--quiet", "rules", "--notemp", "--until", "tokenize_dataset")
    arguments = site.arguments("--retries", "0", "--notemp", "--until", "train_student")

    head = site.start(*arguments)
    wait_until(lambda: head.poll() is not None or whole_checkpoints(site) >= 2, 600, "checkpoints")
    (job,) = site.by_rule()["train_student"]
    assert (job["JobState"], job["NumNodes"], job["NodeList"]) == ("RUNNING", "2", "c[1-2]"), site.log()
    cluster.lose_node("c2")
    assert head.wait(300) != 0
    (job,) = site.by_rule()["train_student"]
    assert job["JobState"] == "NODE_FAIL"
    wait_until(lambda: not site.processes(), 120, "the end of the other node's processes")
    before = whole_checkpoints(site)
    assert before >= 2

    cluster.find_node("c2")
    assert site.jobs(*arguments) == {"train_student": 1, "total": 1}
    site.snakemake(*arguments)
    resumed = losses(site)
    assert resumed["step"].to_list() == list(range(1, resumed.height + 1))

    shutil.rmtree(site.folder / "results/students")
    site.snakemake(*arguments)
    assert losses(site).equals(resumed), "the same losses as those of a training that nothing happened to"
