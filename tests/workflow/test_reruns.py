"""What is run again after a change, and what is not: the promise of results addressed by what they are made of."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.fake_openai import API_KEY, FakeServer, Fault
from tests.workflow.conftest import ROOT, Checkout, small_config

from openthoughts.plan.config import with_setting
from openthoughts.plan.register import KINDS

Jobs = Callable[..., dict[str, int]]


@pytest.fixture(scope="module")
def config(checkout: Checkout, server: FakeServer) -> dict[str, Any]:
    return small_config(checkout, server)


@pytest.fixture(scope="module")
def finished(checkout: Checkout, config: dict[str, Any]) -> Checkout:
    """The tiny recipe, run once."""
    checkout.snakemake("--configfile", checkout.write_config(config), "--quiet", "rules")
    return checkout


@pytest.fixture
def jobs(finished: Checkout, config: dict[str, Any]) -> Jobs:
    """What a dry run would do with some settings changed."""

    def dry_run(*changes: tuple[str, Any]) -> dict[str, int]:
        changed = copy.deepcopy(config)
        for path, value in changes:
            changed = with_setting(changed, path, value)
        return finished.jobs("--configfile", finished.write_config(changed))

    return dry_run


def without_description(jobs: dict[str, int]) -> dict[str, int]:
    """Without a recipe's manifest, page and plots, which follow every change."""
    return {
        rule: count
        for rule, count in jobs.items()
        if rule not in {"all", "total", "describe_recipe", "write_report"} and not rule.startswith("plot_")
    }


def test_the_dataset_holds_every_answer_of_every_drawn_question(finished: Checkout) -> None:
    dataset = pl.read_parquet(finished.folder / "results/tiny/recipes/tiny/dataset/dataset.parquet")
    assert dataset.height == 2 * (8 + 8)
    assert dataset["domain"].value_counts().sort("domain").rows() == [("code", 16), ("math", 16)]
    assert dataset.filter(pl.col("domain") == "code")["difficulty"].null_count() == 0


def test_a_second_run_does_nothing(jobs: Jobs) -> None:
    assert jobs() == {}


def test_what_was_lost_is_made_again_where_nothing_was_made_of_it(finished: Checkout, jobs: Jobs) -> None:
    results = finished.folder / "results/tiny"

    def without(*paths: Path) -> dict[str, int]:
        """What a dry run would do without some files."""
        for path in paths:
            path.rename(path.with_suffix(".away"))
        try:
            return jobs()
        finally:
            for path in paths:
                path.with_suffix(".away").rename(path)

    (dataset,) = results.glob("datasets/*/dataset.parquet")
    assert without(dataset)["assemble_dataset"] == 1
    assert "sample_answers" not in without(dataset)
    shards = sorted(results.glob("answers/*/shards/*.parquet"))
    merged = sorted(results.glob("answers/*/completions.parquet"))
    assert without(*shards) == {}, "the shards are merged"
    assert without(*merged) == {}, "the dataset is made of them"
    lost = without(dataset, shards[0], *results.glob("filtered/*/completions.parquet"), *merged)
    assert lost["sample_answers"] == 1, "only the shard that is gone is asked for"
    assert jobs() == {}


def test_an_edited_comment_or_script_reruns_nothing(finished: Checkout, jobs: Jobs) -> None:
    for path in (
        "rules/answers.smk",
        "scripts/sample_answers.py",
        "scripts/openthoughts/questions/selection.py",
        "Snakefile",
    ):
        file = finished.folder / path
        file.write_text(file.read_text() + "\n# a comment\n")
    assert jobs() == {}


@pytest.mark.parametrize(
    ("path", "value", "made_anew"),
    [
        (
            "recipes.tiny.answers.sampling",
            {"temperature": 0.5},
            {"sample_answers": 4, "merge_answers": 2, "measure_answers": 2, "filter_answers": 2, "assemble_dataset": 1},
        ),
        ("recipes.tiny.filter.by", "complete", {"filter_answers": 2, "assemble_dataset": 1}),
        (
            "recipes.tiny.domains.math.draw",
            6,
            {
                "draw_questions": 1,
                "sample_answers": 2,
                "merge_answers": 1,
                "measure_answers": 1,
                "filter_answers": 1,
                "assemble_dataset": 1,
            },
        ),
        ("recipes.tiny.shuffle_seed", 7, {"assemble_dataset": 1}),
    ],
)
def test_a_changed_setting_makes_exactly_its_stages_anew(
    jobs: Jobs, path: str, value: Any, made_anew: dict[str, int]
) -> None:
    assert without_description(jobs((path, value))) == made_anew
    assert jobs() == {}, "changing it back reruns nothing"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipes.tiny.answers.answers_per_shard", 16),
        ("recipes.tiny.domains.math.short", "allowed"),
        ("accelerator", "cpu"),
        ("max_failed", 0.5),
    ],
)
def test_how_a_stage_is_run_reruns_nothing(jobs: Jobs, path: str, value: Any) -> None:
    assert jobs((path, value)) == {}


def environment_pins(checkout: Checkout) -> Path:
    return checkout.folder / "envs/vllm.txt"


@pytest.mark.parametrize("case", ["new pin", "deleted", "switched accelerator", "container", "moved"])
def test_environments_rerun_nothing_and_a_missing_shard_is_still_built(
    case: str, finished: Checkout, config: dict[str, Any], server: FakeServer, tmp_path: Path
) -> None:
    changed = config
    if case == "new pin":
        environment_pins(finished).write_text(environment_pins(finished).read_text() + "# newer\n")
    elif case == "deleted":
        finished.variables["OPENTHOUGHTS_ENVIRONMENTS"] = str(tmp_path / "gone")
    elif case == "switched accelerator":
        changed = {**config, "accelerator": "cpu"}
    elif case == "container":
        finished.variables["OPENTHOUGHTS_ENVIRONMENT_VLLM"] = "apptainer exec --nv vllm.sif"
    else:
        finished.variables["OPENTHOUGHTS_ENVIRONMENTS"] = str(tmp_path)
    own = finished.write_config(changed)
    assert finished.jobs("--configfile", own) == {}

    (merged,) = (finished.folder / "results/tiny/answers").glob("math-*/completions.parquet")
    shard = min((merged.parent / "shards").glob("*.parquet"))
    before = shard.read_bytes()
    asked = sum(server.asked.values())
    shard.unlink()
    merged.unlink()
    finished.snakemake("--configfile", own, "--quiet", "rules", "--", str(merged.relative_to(finished.folder)))
    assert shard.read_bytes() == before
    assert sum(server.asked.values()) == asked, "the shard was complete in the store"


def test_what_the_store_holds_is_written_before_anything_is_submitted(
    finished: Checkout, config: dict[str, Any], server: FakeServer
) -> None:
    results = finished.folder / "results/tiny"
    shards = [path for kind in ("labels/*/completions", "answers/*/shards") for path in results.glob(f"{kind}/*")]
    before = {path: path.read_bytes() for path in shards}
    asked = sum(server.asked.values())
    own = finished.write_config(with_setting(config, "recipes.tiny.answers.samples", 4), "more.yaml")
    for path in shards:
        path.unlink()
    output = finished.snakemake("from_store", "--configfile", finished.write_config(config), "--quiet", "rules")
    assert f"{len(shards)} shards written" in output
    assert {path: path.read_bytes() for path in shards} == before
    assert sum(server.asked.values()) == asked
    jobs = finished.jobs("--configfile", finished.write_config(config))
    assert not {"label_questions", "sample_answers"} & set(jobs), "nothing is left to submit"
    output = finished.snakemake("from_store", "--configfile", own, "--quiet", "rules")
    (left,) = re.findall(r"(\d+) are to be asked for", output)
    assert finished.jobs("--configfile", own)["sample_answers"] == int(left) > 0, "more samples are not in the store"
    assert sum(server.asked.values()) == asked
    finished.snakemake("--configfile", finished.write_config(config), "--quiet", "rules")


def test_every_program_that_asks_is_known_to_from_store() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    asking = [rule for rule in re.split(r"^rule ", rules, flags=re.MULTILINE) if "+ ASKING" in rule]
    known = {asks.program for kind in KINDS.values() for asks in kind.asks}
    assert {re.findall(r"\{SCRIPTS\}/(\w+)\.py", rule)[0] for rule in asking} == known


def test_more_samples_ask_only_for_those_that_are_missing(
    finished: Checkout, config: dict[str, Any], server: FakeServer
) -> None:
    asked = sum(server.asked.values())
    more = with_setting(config, "recipes.tiny.answers.samples", 3)
    finished.snakemake("--configfile", finished.write_config(more), "--quiet", "rules")
    assert sum(server.asked.values()) - asked == 8 + 8


def test_the_plan_tells_what_is_in_the_store_and_what_was_spent(
    finished: Checkout, config: dict[str, Any], server: FakeServer
) -> None:
    asked = sum(server.asked.values())
    more = with_setting(config, "recipes.tiny.answers.samples", 5)
    for changed, there in ((config, "32 of 32"), (more, "48 of 80")):
        told = finished.snakemake("--configfile", finished.write_config(changed), "--", "plan")
        (row,) = re.findall(rf"^answers +{there} .*$", told, re.MULTILINE)
        assert (int(row.split()[4].replace(",", "")) > 0) is (changed is config), row
        assert re.search(r"^labels +24 of 24 ", told, re.MULTILINE)
    assert sum(server.asked.values()) == asked, "the plan asks nobody"


def test_a_forgotten_answer_is_asked_again_by_the_command_that_is_printed(
    finished: Checkout, config: dict[str, Any], server: FakeServer
) -> None:
    own = finished.write_config(with_setting(config, "recipes.tiny.answers.seed", 8))
    only_thought = {"content": "", "reasoning_content": "a thought", "finish_reason": "stop"}
    server.faults.append(Fault(answer=only_thought, times=1, where=lambda body: "in math" in str(body)))
    try:
        finished.snakemake("--configfile", own, "--quiet", "rules")
    finally:
        server.faults.clear()
    dataset = finished.folder / "results/tiny/recipes/tiny/dataset/dataset.parquet"
    assert pl.read_parquet(dataset).height == 31, "the empty answer is dropped"
    forget = [sys.executable, "scripts/store.py", "forget", "--store", "store/tiny", "--empty", "--yes"]
    told = subprocess.run(forget, cwd=finished.folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert finished.jobs("--configfile", own) == {}, "nothing is made again by itself"
    (command,) = re.findall(r"^ +snakemake (--forcerun .+)$", told, re.MULTILINE)
    asked = sum(server.asked.values())
    finished.snakemake(*command.split(), "--configfile", own, "--quiet", "rules")
    assert sum(server.asked.values()) == asked + 1
    assert pl.read_parquet(dataset).height == 32
    assert finished.jobs("--configfile", own) == {}


def test_a_failed_shard_is_named_and_only_it_is_run_again(
    finished: Checkout, config: dict[str, Any], server: FakeServer
) -> None:
    changed = with_setting(config, "recipes.tiny.answers.seed", 5)
    own = finished.write_config(changed)
    wanted = finished.jobs("--configfile", own)["sample_answers"]
    server.faults.append(Fault(status=401, code="invalid_api_key", where=lambda body: "in math" in str(body)))
    try:
        output = finished.snakemake("--configfile", own, fails=True)
    finally:
        server.faults.clear()
    assert "error: " in output
    assert "results/tiny/answers/math-" in output
    after = finished.jobs("--configfile", own)["sample_answers"]
    assert 0 < after < wanted
    finished.snakemake("--configfile", own, "--quiet", "rules")
    assert finished.jobs("--configfile", own) == {}


def test_the_manifest_says_what_the_recipe_is_made_of(finished: Checkout) -> None:
    manifest = json.loads((finished.folder / "results/tiny/recipes/tiny/manifest.json").read_text())
    assert manifest["recipe"] == "tiny"
    kinds = {stage["kind"] for stage in manifest["stages"]}
    assert {"source", "clean", "labels", "selected", "drawn", "answers", "measured", "filtered", "dataset"} <= kinds


def test_the_key_is_in_nothing_that_runs_leave_behind(
    finished: Checkout, config: dict[str, Any], server: FakeServer
) -> None:
    own = finished.write_config(with_setting(config, "recipes.tiny.answers.seed", 6))
    server.faults.append(Fault(status=403, message="no access"))
    try:
        said = finished.snakemake("--configfile", own, "--verbose", fails=True)
    finally:
        server.faults.clear()
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    holding = [path for path in files if API_KEY.encode() in path.read_bytes()]
    assert API_KEY not in said
    assert holding == []
    assert {path.relative_to(finished.folder).parts[0] for path in files} > {"results", "store", ".snakemake"}
