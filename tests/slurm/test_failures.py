"""Shards that fail in every way a cluster knows: what is finished stays, and only what failed is submitted again."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import polars as pl
from tests.fake_openai import FakeServer, Fault
from tests.slurm.cluster import VirtualCluster
from tests.slurm.conftest import ANSWERS_PER_QUESTION, Site, question_shard, tiny_recipe, wait_until

QUESTIONS = 70
FINISHED, REFUSED, CANCELLED, TIMED_OUT, MEMORY_KILLED, NODE_LOST, STOPPED = range(7)
SHARDS = 7

# What no user would set: one shard has little memory, one little time, one a node of its own.
OVERLAY = {
    "mem_mb": f"300 if wildcards.shard == '{MEMORY_KILLED}' else 4000",
    "runtime": f"2 if wildcards.shard == '{TIMED_OUT}' else 60",
    "grace": "840",
    "slurm_extra": f"'--signal=USR1@50 --nodelist=' + ('g2' if wildcards.shard == '{NODE_LOST}' else 'g1')",
}


def shard_file(site: Site, shard: int, shards: int = SHARDS) -> Path:
    (folder,) = (site.folder / "results/answers").glob("math-*")
    return folder / "shards" / f"{shard}-of-{shards}.parquet"


def job_of(site: Site, shard: int, since: int | None = None) -> dict[str, str] | None:
    """SLURM's record of the job of a shard."""
    jobs = site.by_rule(since).get("sample_answers", [])
    return next((job for job in jobs if f"_{shard}_{SHARDS}" in job["Comment"]), None)


def asked_by_shard(server: FakeServer, shards: int = SHARDS) -> Counter[int]:
    return Counter(question_shard(body, shards) for body in server.bodies)


def test_only_the_shards_that_failed_are_run_again_and_no_answer_is_asked_for_twice(
    cluster: VirtualCluster, site: Site, server: FakeServer
) -> None:
    tiny_recipe(site, server, questions=QUESTIONS, shards=SHARDS)
    site.snakemake("--configfile", "own.yaml", "--quiet", "rules", "--until", "draw_questions", "fetch_model")
    hanging = {CANCELLED, TIMED_OUT, MEMORY_KILLED, NODE_LOST}
    server.faults += [
        Fault(status=401, code="invalid_api_key", where=lambda body: question_shard(body, SHARDS) == REFUSED),
        Fault(hang=True, where=lambda body: question_shard(body, SHARDS) in hanging),
        Fault(delay=3.0, where=lambda body: question_shard(body, SHARDS) == STOPPED),
    ]
    overlay = [f"sample_answers:{name}={value}" for name, value in OVERLAY.items()]
    arguments = site.arguments("--retries", "0", "--until", "merge_answers", "--set-resources", *overlay)
    head = site.start(*arguments)
    wait_until(lambda: asked_by_shard(server)[STOPPED] >= 3, 300, "requests of the shard that is to be stopped")
    stopped = job_of(site, STOPPED)
    assert stopped is not None
    subprocess.run(["scancel", "--signal=USR1", stopped["JobId"]], check=True)
    wait_until(lambda: asked_by_shard(server)[CANCELLED], 300, "requests of the shard that is to be cancelled")
    cancelled = job_of(site, CANCELLED)
    assert cancelled is not None
    subprocess.run(["scancel", cancelled["JobId"]], check=True)
    wait_until(lambda: asked_by_shard(server)[NODE_LOST], 300, "requests of the shard whose node is to be lost")
    cluster.lose_node("g2")
    assert head.wait(600) != 0
    output = (site.folder / "snakemake.log").read_text()

    states = {shard: (job_of(site, shard) or {}).get("JobState") for shard in range(SHARDS)}
    assert states == {
        FINISHED: "COMPLETED",
        REFUSED: "FAILED",
        CANCELLED: "CANCELLED",
        TIMED_OUT: "TIMEOUT",
        MEMORY_KILLED: states[MEMORY_KILLED],
        NODE_LOST: "NODE_FAIL",
        STOPPED: "FAILED",
    }, output
    assert states[MEMORY_KILLED] in {"FAILED", "OUT_OF_MEMORY", "CANCELLED"}, "a memory kill has several names"
    for shard in set(range(SHARDS)) - {FINISHED}:
        job = job_of(site, shard)
        assert job is not None
        assert f"SLURM-job '{job['JobId']}' failed" in output, "the reason is named"
        assert f"shards/{shard}-of-{SHARDS}.parquet" in output, "the shard is named"
        assert f"{shard}-of-{SHARDS}.log" in output, "the log is named"
        assert not shard_file(site, shard).exists()
    log = next((site.folder / "results/logs/sample_answers").glob(f"*/{TIMED_OUT}-of-{SHARDS}.log")).read_text()
    assert "SIGUSR1: finishing what is in flight" in log, "the stop signal came before the time limit"
    assert "error: " in next((site.folder / "results/logs/sample_answers").glob(f"*/{REFUSED}-of-*.log")).read_text()
    finished = shard_file(site, FINISHED)
    before = finished.read_bytes(), finished.stat().st_mtime_ns
    answered = server.served.copy()

    cluster.find_node("g2")
    server.faults.clear()
    since = site.next_job()
    site.snakemake(*site.arguments("--until", "merge_answers"))
    again = site.by_rule(since)
    assert {rule: len(jobs) for rule, jobs in again.items()} == {"sample_answers": SHARDS - 1, "merge_answers": 1}
    assert job_of(site, FINISHED, since) is None
    assert (finished.read_bytes(), finished.stat().st_mtime_ns) == before
    assert set(server.served.values()) == {1}, "no answer was given twice"
    assert len(server.served) == QUESTIONS * ANSWERS_PER_QUESTION
    assert all(server.asked[name] == 1 for name in answered), "what was answered was never asked for again"
    in_flight = [body for body in server.bodies if question_shard(body, SHARDS) == STOPPED]
    assert len(in_flight) == len({str(body) for body in in_flight}), "the stop signal cost nothing"
    (merged,) = (site.folder / "results/answers").glob("math-*/completions.parquet")
    assert pl.read_parquet(merged)["error"].null_count() == QUESTIONS * ANSWERS_PER_QUESTION
