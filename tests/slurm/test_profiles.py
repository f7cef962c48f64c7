"""The shipped profiles, on the default recipe and by a dry run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.workflow.conftest import Checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("profiles"))


def planned(checkout: Checkout, profile: str) -> dict[str, list[dict[str, str]]]:
    """Resources of the submitted jobs of a dry run of the default recipe, by rule."""
    output = checkout.snakemake("--workflow-profile", f"profiles/{profile}", "-n")
    jobs: dict[str, list[dict[str, str]]] = {}
    for rule, block in re.findall(r"^rule (\w+):\n(.*?)\n\n", output, re.MULTILINE | re.DOTALL):
        line = re.search(r"^ +resources: (.*)$", block, re.MULTILINE)
        pairs = re.findall(r"(\w+)=((?:\{.*?\})?[^,]*)", line[1]) if line else []
        jobs.setdefault(rule, []).append(dict(pairs))
    return jobs


def test_jobs_stay_within_four_hours_and_shards_follow_the_speed_of_the_teacher(checkout: Checkout) -> None:
    long, short = planned(checkout, "slurm"), planned(checkout, "slurm-short")
    assert max(int(job["runtime"]) for jobs in short.values() for job in jobs) <= 240
    assert max(int(job["runtime"]) for jobs in long.values() for job in jobs) > 240
    # 1.2 million answers of 14,800 tokens at 8,000 tokens a second, in shards of 1.75 hours.
    assert len(short["sample_answers"]) == pytest.approx(1_200_000 * 14_800 / 8_000 / 3600 / 1.75, rel=0.02)
    assert len(long["sample_answers"]) < len(short["sample_answers"])


def test_what_needs_the_internet_is_not_submitted_and_what_needs_gpus_goes_where_they_are(checkout: Checkout) -> None:
    jobs = planned(checkout, "slurm")
    assert not {"fetch_source", "fetch_benchmark", "fetch_model", "label_questions"} & set(jobs)
    with_gpus = {rule for rule in jobs for job in jobs[rule] if job["slurm_partition"] == "gpu"}
    assert with_gpus == {"sample_answers", "sample_evaluation", "train_student"}
    assert all("gres" in job for rule in with_gpus for job in jobs[rule])
    (training,) = jobs["train_student"]
    assert (training["nodes"], training["tasks"], training["gres"]) == ("8", "8", "gpu:a100:8")


def test_a_network_partition_takes_what_needs_the_internet(checkout: Checkout) -> None:
    profile = checkout.folder / "profiles" / "slurm" / "config.yaml"
    text = profile.read_text()
    try:
        profile.write_text(text.replace("# network_partition:", "network_partition:"))
        jobs = planned(checkout, "slurm")
    finally:
        profile.write_text(text)
    for rule in ("fetch_source", "fetch_benchmark", "fetch_model", "label_questions"):
        assert {job["slurm_partition"] for job in jobs[rule]} == {"transfer"}


def test_the_profiles_say_the_same_but_for_what_short_jobs_need(checkout: Checkout) -> None:
    def sites(name: str) -> list[str]:
        path = Path(checkout.folder / "profiles" / name / "config.yaml")
        return [line for line in path.read_text().splitlines() if "# SITE" in line]

    assert len(sites("slurm")) == 5
    assert sites("slurm") == sites("slurm-short")
