"""The shipped configurations make complete graphs, and a mistaken one says what is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workflow.conftest import ROOT, Checkout

import draw_pictures

DRY_RUN = ("-n", "--quiet", "rules")


def test_the_default_recipe_is_openthoughts3_in_full(checkout: Checkout) -> None:
    jobs = checkout.jobs()
    assert 300 <= sum(jobs.values()) - jobs["total"] <= 450
    assert jobs["fetch_source"] == 5
    assert jobs["fetch_benchmark"] == 19
    assert jobs["sample_answers"] == 48 + 164 + 20
    assert jobs["train_student"] == 1
    assert jobs["sample_evaluation"] == 2


def test_a_recipe_is_asked_for_its_student_and_scores(checkout: Checkout) -> None:
    output = checkout.snakemake("-n", "--quiet", "reason", "progress")
    (asked,) = re.findall(r"^(?:local)?rule all:\n    input: (.*)$", output, re.MULTILINE)
    for file in (r"datasets/\S+/dataset\.parquet", r"students/\S+/model\.json", r"evaluations/\S+/scores\.parquet"):
        assert re.search(f"results/{file}", asked), file


def resources_of(output: str, rule: str) -> set[str]:
    """The resources of every job of a rule in a dry run."""
    jobs = re.findall(rf"^(?:local)?rule {rule}:\n(.*?)\n\n", output, re.MULTILINE | re.DOTALL)
    return {match for job in jobs for match in re.findall(r"    resources: (.*)", job)}


def test_gpu_rules_ask_for_what_the_recipe_needs(checkout: Checkout) -> None:
    output = checkout.snakemake("-n", "--quiet", "reason", "progress")
    for resources in resources_of(output, "sample_answers"):
        assert "gpu=4" in resources
        assert "tensor_parallel=4" in resources
        runtime = int(re.search(r"runtime=(\d+)", resources)[1])  # type: ignore[index]
        assert 120 <= runtime <= 24 * 60
    (training,) = resources_of(output, "train_student")
    assert "gpu=8" in training
    assert "nodes=8" in training
    assert all("gpu=0" in resources for resources in resources_of(output, "label_questions"))
    assert all("network=1" in resources for resources in resources_of(output, "label_questions"))
    assert all("gpu=4" in resources for resources in resources_of(output, "sample_evaluation"))


@pytest.mark.parametrize(
    "given",
    [
        ("recipes={openthoughts3: {answers: {samples: 4}}}", "gpu=h100"),
        ("set={recipes.openthoughts3.answers.samples: 4, gpu: h100}",),
    ],
)
def test_numbers_can_be_set_on_the_command_line(checkout: Checkout, given: tuple[str, ...]) -> None:
    told = checkout.snakemake("--config", *given, "--", "plan")
    assert "300,000" in told, "75,000 questions, four answers each"
    assert "GPU-hours of h100" in told


@pytest.mark.parametrize("profile", ["profiles/default", "profiles/demo"])
def test_the_plan_counts_the_jobs_that_a_dry_run_lists(checkout: Checkout, profile: str) -> None:
    jobs = checkout.jobs("--workflow-profile", profile)
    told = checkout.snakemake("--workflow-profile", profile, "plan")
    totals = re.findall(r"^total +([\d,]+)", told, re.MULTILINE)
    assert int(totals[-1].replace(",", "")) == jobs["total"] - jobs["all"]


def test_the_workflow_catalogs_snakefile_is_the_workflow(checkout: Checkout) -> None:
    assert checkout.jobs("--snakefile", "workflow/Snakefile") == checkout.jobs()


def test_rules_without_their_programs_say_what_to_do(checkout: Checkout, tmp_path: Path) -> None:
    for name in ("Snakefile", "config.yaml", "rules"):
        source = checkout.folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    said = checkout.snakemake("--snakefile", str(tmp_path / "Snakefile"), "-n", fails=True)
    assert "clone it, and name the Snakefile of the clone" in said


def test_the_next_major_version_of_snakemake_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as metadata\n"
        "known = metadata.version\n"
        "metadata.version = lambda name: '10.0.0' if name == 'snakemake' else known(name)\n"
    )
    output = checkout.snakemake("-n", fails=True, PYTHONPATH=str(tmp_path))
    assert "Snakemake 10.0.0 is newer than this workflow: install 'snakemake>=9.27,<10'." in output


def test_the_picture_of_the_rules_is_that_of_the_rules(checkout: Checkout) -> None:
    picture = draw_pictures.rules(
        checkout.snakemake("--workflow-profile", "profiles/demo", "--rulegraph", "mermaid-js")
    )
    page = (ROOT / "docs/recipe.md").read_text(encoding="utf-8")
    assert draw_pictures.embedded(page, picture) == page, "run `make pictures`"
    assert all(rule in picture for rule in ("fetch_source", "sample_answers", "grade_answers"))


def test_sensitivity_is_measured_where_it_is_asked_for(checkout: Checkout) -> None:
    changed = {"recipes": {"openthoughts3": {"domains": {"code": {"decontaminate": {"sensitivity": True}}}}}}
    jobs = checkout.jobs("--configfile", checkout.write_config(changed))
    assert jobs["measure_sensitivity"] == 2
    told = checkout.snakemake("--configfile", "own.yaml", "--", "plan")
    total = re.findall(r"^total +([\d,]+)", told, re.MULTILINE)[-1]
    assert int(total.replace(",", "")) == jobs["total"] - jobs["all"]


def test_a_dry_run_needs_no_key_and_no_environment(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.variables = {key: value for key, value in checkout.variables.items() if "KEY" not in key}
    checkout.variables["OPENTHOUGHTS_ENVIRONMENTS"] = "/nonexistent"
    assert checkout.jobs()["all"] == 1


def test_a_real_run_without_a_lock_is_refused_before_its_first_job(checkout: Checkout) -> None:
    output = checkout.snakemake(fails=True)
    refused = re.search(r"^not pinned to a commit or checksum: (.*): run `snakemake lock`, then again\.$", output, re.M)
    assert refused is not None, output[-2000:]
    for name in ("openmath-2-math", "open-code-reasoning", "stackexchange-physics", "gpqa-diamond", "qwq-32b"):
        assert name in refused[1].split(", ")
    assert "Traceback" not in output
    assert not list((checkout.folder / "results").glob("*/*/*.parquet")), "nothing was run"


def test_all_sources_of_the_catalog_are_a_complete_graph(checkout: Checkout) -> None:
    sources = yaml.safe_load((checkout.folder / "catalog" / "sources.yaml").read_text())
    read = {name: entry for name, entry in sources.items() if entry["connector"] != "unresolved"}
    domains = {
        domain: {"sources": [name for name, entry in read.items() if entry["domain"] == domain], "top": None}
        for domain in ("math", "code", "science")
    }
    jobs = checkout.jobs("--configfile", checkout.write_config({"recipes": {"openthoughts3": {"domains": domains}}}))
    fetched = sum(len(domain["sources"]) for domain in domains.values())
    assert fetched == 27 + 21 + 11
    assert jobs["fetch_source"] == fetched
    # Six sources ask to write, refine and check, two to vary in three ways and check, one in two ways and check.
    assert jobs["read_written"] == 6 * 3 + 2 * 4 + 3
    assert jobs["write_questions"] >= jobs["read_written"]
    assert jobs["select_questions"] == jobs["parse_labels"] == fetched
    assert jobs["decontaminate"] >= fetched
    assert jobs["draw_questions"] == 3
    assert jobs["train_student"] == 1


def test_the_demo_is_a_complete_graph(checkout: Checkout) -> None:
    jobs = checkout.jobs("--workflow-profile", "profiles/demo")
    assert jobs["train_student"] == 2
    assert jobs["sample_evaluation"] == 3
    assert jobs["compare_arms"] == 1


def test_every_rule_says_what_it_does(checkout: Checkout) -> None:
    listed = checkout.snakemake("--list")
    rules = [line for line in listed.splitlines() if re.match(r"^\w+$", line)]
    assert rules == [], f"rules without a docstring: {rules}"
    said = re.findall(r"^\w+ \((.*)\)$", listed, re.MULTILINE)
    twice = [each for each in said if said.count(each) > 1]
    assert said and twice == [], f"rules with another rule's docstring: {twice}"


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"targts": ["x"]}, ["unknown key 'targts' (did you mean targets?)"]),
        ({"targets": ["openthoughts"]}, ["no recipe or experiment 'openthoughts' (did you mean openthoughts3?)"]),
        (
            {"recipes": {"openthoughts3": {"answers": {"samples": "16", "teacher": "qwq"}, "trainng": {}}}},
            ["'16' should be of type integer", "unknown key 'trainng' (did you mean training?)"],
        ),
        (
            {"recipes": {"openthoughts3": {"answers": {"teacher": "qwq-32"}, "training": {"scale": "huge"}}}},
            ["no model 'qwq-32' (did you mean qwq-32b?)", "no scale 'huge'"],
        ),
        ({"catalog": ["catalog", "nowhere"]}, ["the catalog folder nowhere does not exist"]),
        ({"results": "my results"}, ["results: 'my results' does not match"]),
    ],
)
def test_a_mistake_ends_in_sentences_and_no_stack_trace(
    checkout: Checkout, change: dict[str, Any], messages: list[str]
) -> None:
    output = checkout.snakemake("--configfile", checkout.write_config(change), *DRY_RUN, fails=True)
    for message in messages:
        assert message in output
    assert "Traceback" not in output


def test_a_key_that_is_there_twice_is_a_mistake(checkout: Checkout) -> None:
    (checkout.folder / "twice.yaml").write_text(
        "recipes:\n  openthoughts3:\n    filter: {by: none}\n    filter: {by: all}\n"
    )
    output = checkout.snakemake("--configfile", "twice.yaml", *DRY_RUN, fails=True)
    assert "the key 'filter' is there twice" in output
    assert "Traceback" not in output


def test_the_readmes_ablation_shares_every_question(checkout: Checkout) -> None:
    vary = {"answers.teacher": ["qwq-32b", "phi-4-reasoning-plus"]}
    own = {"targets": ["teachers"], "experiments": {"teachers": {"base": "openthoughts3", "vary": vary}}}
    jobs = checkout.jobs("--configfile", checkout.write_config(own))
    assert jobs["draw_questions"] == jobs["limit_length"] == 3
    assert jobs["label_questions"] == 28
    assert jobs["sample_answers"] == 2 * 232
    assert jobs["train_student"] == 2


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("models.yaml", "mine: {kind: folder}\n", "models.yaml.mine: the key 'path' is missing"),
        ("models.yaml", "mine: {kind: hub}\n", "models.yaml.mine: the key 'repository' is missing"),
        ("sources.yaml", "- one\n- two\n", "holds no mapping of names to entries"),
        ("sources.yaml", "a: {connector: local}\na: {connector: hub}\n", "the key 'a' is there twice"),
        ("sources.yaml", "a: {connector: local, domain: math, path: x, rows: 2M}\n", "'2M' should be of type integer"),
        ("scales.yaml", "quick: {epochs: 1}\n", "scales.yaml.quick: the key 'cutoff' is missing"),
        ("models.yaml", "a: {kind: api,\n", "is not valid YAML"),
    ],
)
def test_a_mistaken_catalog_ends_in_sentences(checkout: Checkout, file: str, text: str, message: str) -> None:
    folder = checkout.folder / "mistaken"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / file).write_text(text)
    config = checkout.write_config({"catalog": ["catalog", "mistaken"]})
    output = checkout.snakemake("--configfile", config, *DRY_RUN, fails=True)
    assert message in output
    assert "Traceback" not in output
