"""The head process ends, by Ctrl-C and by kill -9, and is started again."""

from __future__ import annotations

import signal

import polars as pl
from tests.fake_openai import FakeServer, Fault
from tests.slurm.cluster import VirtualCluster
from tests.slurm.conftest import ANSWERS_PER_QUESTION, Site, tiny_recipe, wait_until

QUESTIONS = 12
SHARDS = 2
ANSWERS = QUESTIONS * ANSWERS_PER_QUESTION
AT_ONCE = 6
"""Answers that come before the first interruption: few enough that either shard alone has more than it can have got."""


def test_restarted_jobs_and_those_that_still_run_never_ask_for_one_answer_twice(
    cluster: VirtualCluster, site: Site, server: FakeServer
) -> None:
    tiny_recipe(site, server, questions=QUESTIONS, shards=SHARDS)
    site.snakemake("--configfile", "own.yaml", "--quiet", "rules", "--until", "draw_questions", "fetch_model")
    arguments = site.arguments("--until", "merge_answers", "--retries", "0")

    def running(since: int) -> list[str]:
        return [job["JobId"] for job in site.records(since) if job["JobState"] == "RUNNING"]

    # Some answers come at once; the ones after them never, so that both shards are at work when Ctrl-C comes.
    hang = Fault(hang=True, where=lambda body: len(server.served) >= AT_ONCE)
    server.faults.append(hang)
    head = site.start(*arguments)
    first = site.first_job
    wait_until(lambda: len(server.asked) >= AT_ONCE + 2 and len(running(first)) == SHARDS, 300, "both shards")
    wait_until(lambda: len(server.asked) - len(server.served) == 2 * SHARDS, 60, "requests in flight")
    site.end(head, signal.SIGINT)
    assert head.returncode != 0
    wait_until(lambda: not running(first), 60, "the end of the jobs that Ctrl-C cancels")
    assert {job["JobState"] for job in site.records(first)} == {"CANCELLED"}
    answered = server.served.copy()

    # Slow answers, so that the jobs of the killed head still run when it is started again.
    server.faults[:] = [Fault(delay=12.0)]
    second = site.next_job()
    head = site.start(*arguments)
    wait_until(lambda: len(running(second)) == SHARDS and len(server.bodies) > len(answered) + 4, 300, "both shards")
    site.end(head, signal.SIGKILL)
    assert len(running(second)) == SHARDS, "jobs outlive the head process"
    third = site.next_job()
    assert "Directory cannot be locked" in site.snakemake(*arguments, fails=True)
    site.snakemake("--configfile", "own.yaml", "--unlock")
    head = site.start(*arguments)
    wait_until(lambda: len(running(second)) > len(running(third)) > 0, 120, "a job beside its restarted twin")
    assert head.wait(600) == 0, (site.folder / "snakemake.log").read_text()
    assert {job["JobState"] for job in site.records(second)} == {"COMPLETED"}
    assert set(server.served.values()) == {1}
    assert len(server.served) == ANSWERS
    assert all(server.asked[name] == 1 for name in answered)
    (merged,) = (site.folder / "results/answers").glob("math-*/completions.parquet")
    assert pl.read_parquet(merged).height == ANSWERS
