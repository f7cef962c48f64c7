"""No shell line is so long that a job could not start, whatever the configuration."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from tests.workflow.conftest import ROOT, Checkout

LONGEST = 2000


def shell_lines(checkout: Checkout, *arguments: str) -> list[str]:
    """The programs' command lines of a dry run."""
    output = checkout.snakemake(*arguments, "-n", "--printshellcmds", "--quiet", "reason")
    return [line.strip() for line in output.splitlines() if re.search(r"scripts/\w+\.py ", line)]


def everything_labelled() -> dict[str, Any]:
    """A recipe over every source that can be fetched, each labelled by a model, against every benchmark."""
    sources = yaml.safe_load((ROOT / "catalog/sources.yaml").read_text())
    benchmarks = yaml.safe_load((ROOT / "catalog/benchmarks.yaml").read_text())
    asked = sorted(name for name, entry in benchmarks.items() if entry["connector"] != "unresolved")
    domains = {
        domain: {
            "sources": sorted(
                name
                for name, entry in sources.items()
                if entry["domain"] == domain and entry["connector"] != "unresolved"
            ),
            "select": {"by": "response_length", "model": "gpt-4.1-nano", "keep": 1000},
            "deduplicate": {"level": "exact"},
            "draw": 1000,
        }
        for domain in ("math", "code", "science")
    }
    recipe = {
        "decontaminate": {"benchmarks": asked, "sensitivity": True},
        "answers": {"teacher": "qwq-32b", "samples": 1, "shards": 500},
        "domains": domains,
        "training": {"student": "qwen2.5-7b-instruct", "scale": "large"},
        "evaluation": {"benchmarks": [name for name in asked if benchmarks[name]["grader"] != "none"]},
    }
    return {"targets": ["everything"], "recipes": {"everything": recipe}}


def many_domains() -> dict[str, Any]:
    """The default recipe with ten domains instead of three."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    recipe = copy.deepcopy(config["recipes"]["openthoughts3"])
    recipe["domains"] = {f"part-{number}": recipe["domains"]["math"] for number in range(10)}
    return {"targets": ["wide"], "recipes": {"wide": recipe}}


CONFIGURATIONS: dict[str, Any] = {
    "default": {},
    "everything labelled": everything_labelled,
    "many domains": many_domains,
    "an experiment of 200 arms": lambda: {
        "targets": ["many"],
        "experiments": {"many": {"base": "openthoughts3", "vary": {"training.seed": list(range(200))}}},
    },
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_shell_line_is_short(name: str, checkout: Checkout) -> None:
    config = CONFIGURATIONS[name]
    given: Sequence[str] = ()
    if callable(config):
        given = ("--configfile", checkout.write_config(config()))
    lines = shell_lines(checkout, *given)
    assert len(lines) > 300
    assert {line for line in lines if len(line) > LONGEST} == set()
    assert not (checkout.folder / "results").exists(), "a dry run writes nothing"


def test_the_demos_shell_lines_are_short(checkout: Checkout) -> None:
    lines = shell_lines(checkout, "--workflow-profile", "profiles/demo")
    assert len(lines) > 80
    assert max(map(len, lines)) <= LONGEST
