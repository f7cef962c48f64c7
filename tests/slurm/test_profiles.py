"""The shipped profiles, on the default recipe and by a dry run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.workflow.conftest import ROOT, Checkout

from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.speeds import answer_seconds

ON_LOGIN_NODE = ("fetch_source", "fetch_benchmark", "fetch_model", "label_questions")
"""What needs the internet; test_allocation.py sees that none of it is submitted."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("profiles"))


@pytest.fixture(scope="module")
def long(checkout: Checkout) -> dict[str, list[dict[str, str]]]:
    return planned(checkout, "slurm")


def planned(checkout: Checkout, profile: str) -> dict[str, list[dict[str, str]]]:
    """Resources of the jobs of a dry run of the default recipe, by rule."""
    output = checkout.snakemake("--workflow-profile", f"profiles/{profile}", "-n")
    jobs: dict[str, list[dict[str, str]]] = {}
    for rule, block in re.findall(r"^rule (\w+):\n(.*?)\n\n", output, re.MULTILINE | re.DOTALL):
        line = re.search(r"^ +resources: (.*)$", block, re.MULTILINE)
        pairs = re.findall(r"(\w+)=((?:\{.*?\})?[^,]*)", line[1]) if line else []
        jobs.setdefault(rule, []).append(dict(pairs))
    return jobs


def test_jobs_stay_within_four_hours_and_shards_follow_the_speed_of_the_teacher(
    checkout: Checkout, long: dict[str, list[dict[str, str]]]
) -> None:
    def longest(jobs: dict[str, list[dict[str, str]]]) -> int:
        return max(int(job["runtime"]) for rule in set(jobs) - set(ON_LOGIN_NODE) for job in jobs[rule])

    short = planned(checkout, "slurm-short")
    assert longest(short) <= 240 < longest(long)
    catalog = read_catalog([ROOT / "catalog"])
    seconds = answer_seconds({**catalog.models["qwq-32b"], "gpu": catalog.gpus["a100-80"]}) or 0
    assert len(short["sample_answers"]) == pytest.approx(1_200_000 * seconds / 3600 / 1.75, rel=0.02)
    assert len(long["sample_answers"]) < len(short["sample_answers"])


def test_no_attempt_of_any_rule_is_longer_than_four_hours(checkout: Checkout) -> None:
    profile = yaml.safe_load((checkout.folder / "profiles/slurm-short/config.yaml").read_text())
    rules = "".join(path.read_text() for path in (checkout.folder / "rules").glob("*.smk"))
    timed = {
        re.match(r"\w+", rule)[0]  # type: ignore[index]
        for rule in re.split(r"^(?:use rule \w+ as|rule) ", rules, flags=re.MULTILINE)[1:]
        if "runtime=lambda" in rule or "growing(" in rule or "asking(" in rule
    }
    assert timed <= set(profile["set-resources"])
    for resources in profile["set-resources"].values():
        assert eval(str(resources["runtime"]), {"attempt": profile["retries"] + 1, "min": min}) <= 240


def test_what_needs_gpus_goes_where_they_are(long: dict[str, list[dict[str, str]]]) -> None:
    with_gpus = {rule for rule in long for job in long[rule] if job["slurm_partition"] == "gpu"}
    assert with_gpus == {"sample_answers", "sample_evaluation", "train_student"}
    assert all("gres" in job for rule in with_gpus for job in long[rule])
    (training,) = long["train_student"]
    assert (training["nodes"], training["tasks"], training["gres"]) == ("8", "8", "gpu:a100:8")


def test_preflight_knows_what_every_job_that_is_submitted_will_ask_for(
    checkout: Checkout, long: dict[str, list[dict[str, str]]]
) -> None:
    checkout.snakemake("--workflow-profile", "profiles/slurm", "--", "preflight_offline", fails=True)
    plans = map(json.loads, (path.read_text() for path in checkout.folder.glob("results/plans/*.json")))
    (record,) = (plan for plan in plans if "allocations" in plan)
    assert not record["unknown"]
    found: dict[str, set[tuple[str, str, str]]] = {}
    jobs: dict[str, int] = {}
    for allocation in record["allocations"]:
        (first, words), (last, _) = allocation["attempts"]
        assert (first, last) == (1, 3)
        asked = (words[words.index("-p") + 1], words[words.index("-t") + 1], words[-1].partition("--gres=")[2])
        for rule, number in allocation["rules"].items():
            found.setdefault(rule, set()).add(asked)
            jobs[rule] = jobs.get(rule, 0) + number
    submitted = {rule: blocks for rule, blocks in long.items() if rule not in (*ON_LOGIN_NODE, "all")}
    assert jobs == {rule: len(blocks) for rule, blocks in submitted.items()}
    for rule, blocks in submitted.items():
        assert found[rule] == {(job["slurm_partition"], job["runtime"], job.get("gres", "")) for job in blocks}, rule


def test_preflight_counts_no_shard_that_is_made_and_says_whose_resources_read_their_input(
    checkout: Checkout, long: dict[str, list[dict[str, str]]]
) -> None:
    dry = checkout.snakemake("--workflow-profile", "profiles/slurm", "-n")
    shards = sorted(set(re.findall(r"results/answers/[^/ ]+/\w+/\d+-of-\d+\.parquet", dry)))[:3]
    resources = ("--set-resources", "merge_answers:mem_mb=1000 + input.size_mb", "decontaminate:mem_mb=3000 * attempt")
    plans = checkout.folder / "results" / "plans"
    try:
        for path in shards:
            (checkout.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout.folder / path).touch()
        before = set(plans.glob("*.json"))
        checkout.snakemake("--workflow-profile", "profiles/slurm", *resources, "--", "preflight_offline", fails=True)
        new = [path for path in plans.glob("*.json") if path not in before]
        (record,) = (found for found in (json.loads(path.read_text()) for path in new) if "allocations" in found)
    finally:
        shutil.rmtree(checkout.folder / "results")
    counts = [allocation["rules"].get("sample_answers", 0) for allocation in record["allocations"]]
    assert sum(counts) == len(long["sample_answers"]) - 3
    assert record["reads_input"] == ["merge_answers"]


def test_a_network_partition_takes_what_needs_the_internet(checkout: Checkout) -> None:
    profile = checkout.folder / "profiles" / "slurm" / "config.yaml"
    text = profile.read_text()
    try:
        profile.write_text(text.replace("# network_partition:", "network_partition:"))
        jobs = planned(checkout, "slurm")
    finally:
        profile.write_text(text)
    for rule in ON_LOGIN_NODE:
        assert {job["slurm_partition"] for job in jobs[rule]} == {"transfer"}


def test_the_profiles_say_the_same_but_for_what_short_jobs_need(checkout: Checkout) -> None:
    def sites(name: str) -> list[str]:
        path = Path(checkout.folder / "profiles" / name / "config.yaml")
        return [line for line in path.read_text().splitlines() if "# SITE" in line]

    assert len(sites("slurm")) == 6
    assert sites("slurm") == sites("slurm-short")
