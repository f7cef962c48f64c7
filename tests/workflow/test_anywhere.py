"""The workflow runs from anywhere: imported into another workflow, from another folder, from a path of any letters.

Every way runs the same small recipe in a folder of its own, and shares the store, so that only the first asks.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fake_openai import FakeServer
from tests.workflow.conftest import Checkout, small_config

MODULE = """\
configfile: "config.yaml"


module openthoughts:
    snakefile: {snakefile!r}
    config: config["openthoughts"]


use rule * from openthoughts as openthoughts_*


rule all:
    default_target: True
    input:
        rules.openthoughts_all.input,
        "own.txt",
    localrule: True


rule own:
    output:
        "own.txt",
    localrule: True
    shell:
        "echo mine > {{output}}"
"""
"""A workflow that imports this one beside a rule of its own."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in a path with a space and letters that are not ASCII, which nobody may write into."""
    folder = tmp_path_factory.mktemp("anywhere") / "a chéckout ☃"
    folder.mkdir()
    checkout = Checkout(folder)
    home = folder.parent / "home"
    home.write_text("no folder can be made here")
    # Snakemake's own cache is the one thing that must be written; it is in $HOME unless this says otherwise.
    caches = {"XDG_CACHE_HOME": str(folder.parent / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    checkout.variables |= {"HOME": str(home), **caches}
    return checkout


@pytest.fixture(scope="module")
def shipped(checkout: Checkout) -> Iterator[None]:
    """See to it that no run has written into the checkout, but for compiled kernels and Snakemake's notes."""
    before = files_of(checkout.folder)
    yield
    assert files_of(checkout.folder) == before


def files_of(folder: Path) -> dict[str, int]:
    """The files of a checkout and when they were written."""
    notes = ("cache", ".snakemake")
    files = (path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] not in notes)
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def recipe(checkout: Checkout, server: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The small recipe: the folder of its own catalog and sources, and its configuration."""
    config = small_config(checkout, server)
    shutil.move(checkout.folder / "own", (own := tmp_path_factory.mktemp("own")) / "own")
    config["store"] = str(own / "store")
    recipe = config["recipes"]["tiny"]
    recipe["domains"] = {"code": recipe["domains"]["code"]}  # the one whose labels have a prompt
    recipe["answers"]["samples"] = 1
    return own / "own", config


def user_folder(folder: Path, recipe: tuple[Path, Any]) -> tuple[Path, dict[str, Any]]:
    """A folder of a user: a catalog and questions of their own, and the configuration to run there."""
    folder.mkdir()
    own, config = recipe
    shutil.copytree(own, folder / "own")
    return folder, {**config, "catalog": ["own"], "results": "results"}


def snakemake(folder: Path, variables: Mapping[str, str], *arguments: str) -> str:
    """Run Snakemake in a folder; its output. It must succeed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    run = subprocess.run(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.returncode == 0, run.stdout + "".join(path.read_text() for path in folder.rglob("logs/*/*.log"))
    return run.stdout


def ids(results: Path) -> set[str]:
    """The ids of all stages below the results."""
    return {path.name for path in results.glob("*/*-????????????")}


def test_as_a_module_of_another_workflow(
    checkout: Checkout, recipe: tuple[Path, Any], shipped: None, server: FakeServer, tmp_path: Path
) -> None:
    folder, config = user_folder(tmp_path / "importer", recipe)
    # A catalog of the importer's that bears the name of the workflow's own.
    (folder / "own").rename(folder / "catalog")
    for path in (folder / "catalog").glob("*.yaml"):
        path.write_text(path.read_text().replace("own/", "catalog/"))
    config["catalog"] = ["catalog"]
    (folder / "config.yaml").write_text(yaml.safe_dump({"openthoughts": config, "mine": 1}))
    (folder / "Snakefile").write_text(MODULE.format(snakefile=str(checkout.folder / "Snakefile")))
    listed = snakemake(folder, checkout.variables, "-n", "--quiet", "rules")
    assert re.search(r"^openthoughts_sample_answers +1$", listed, re.MULTILINE)
    assert not (folder / "results").exists(), "a dry run writes nothing"
    snakemake(folder, checkout.variables)
    assert (folder / "own.txt").read_text() == "mine\n"
    assert (folder / "results/recipes/tiny/dataset/dataset.parquet").is_file()
    assert (folder / "results/recipes/tiny/report.html").is_file()
    assert "Nothing to be done" in snakemake(folder, checkout.variables)
    assert snakemake(folder, checkout.variables, "openthoughts_plan").count("recipe tiny") == 1


def test_from_another_folder_and_with_another_directory(
    checkout: Checkout, recipe: tuple[Path, Any], shipped: None, server: FakeServer, tmp_path: Path
) -> None:
    folder, config = user_folder(tmp_path / "elsewhere", recipe)
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    given = ("--snakefile", str(checkout.folder / "Snakefile"), "--configfile", "mine.yaml")
    snakemake(folder, checkout.variables, *given)
    made = ids(folder / "results")
    asked = sum(server.asked.values())

    away = tmp_path / "away"
    user_folder(away, recipe)
    (checkout.folder.parent / "mine.yaml").write_text(yaml.safe_dump(config))
    given = ("--snakefile", "Snakefile", "--configfile", "../mine.yaml", "--directory", str(away))
    given += ("--until", "assemble_dataset")
    snakemake(checkout.folder, checkout.variables, *given)
    assert ids(away / "results") == made, "ids do not depend on the folder"
    assert sum(server.asked.values()) == asked, "what was asked in another folder is not asked again"

    (tmp_path / "moved").mkdir()
    moved = Checkout(tmp_path / "moved").folder / "Snakefile"
    given = (
        "--snakefile",
        str(moved),
        "--configfile",
        "mine.yaml",
        "--rerun-triggers",
        "mtime",
        "params",
        "code",
        "input",
    )
    assert "Nothing to be done" in snakemake(folder, checkout.variables, *given), "the workflow has moved"


def test_the_demo_is_found_from_anywhere(checkout: Checkout, tmp_path: Path, shipped: None) -> None:
    profile = ("--workflow-profile", str(checkout.folder / "profiles/demo"))
    here = checkout.snakemake("--workflow-profile", "profiles/demo", "-n", "--quiet", "rules").split("Job stats:")[-1]
    config = ("--configfile", str(checkout.folder / "demo/config.yaml"))
    given = ("-n", "--quiet", "rules", "--snakefile", str(checkout.folder / "Snakefile"))
    there = snakemake(tmp_path, checkout.variables, *given, *profile, *config)
    assert there.split("Job stats:")[-1] == here
