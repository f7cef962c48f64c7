"""The page that shows how to add a stage, followed to the letter in a checkout of its own: five files each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.fake_openai import FakeServer
from tests.workflow.conftest import ROOT, Checkout, small_config

PAGE = (ROOT / "docs/extending/stage.md").read_text(encoding="utf-8")
MOST_FILES = 5


def follow(checkout: Checkout, part: str) -> dict[str, Any]:
    """Do what a section of the page says; returns the settings that a recipe uses its stage with."""
    section = PAGE.split(f"## {part}\n")[1].split("\n## ")[0]
    path, touched, settings = Path(), set(), {}
    for text, language, code in re.findall(r"(.*?)^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        if language == "yaml":
            settings = yaml.safe_load(code)
            continue
        if new := re.search(r"new file `([^`]+)`", text):
            path = checkout.folder / new[1]
            path.write_text(code)
        else:
            (*_, named) = re.findall(r"[Ii]n `([^`]+)`", text) or [str(path)]
            (before,) = re.findall(r"[Bb]efore `([^`]+)`", text)
            path = checkout.folder / named
            there = path.read_text()
            assert there.count(before) == 1, f"{path} has not one {before!r}"
            path.write_text(there.replace(before, f"{code}{before}"))
        touched.add(path)
    assert len(touched) == MOST_FILES
    return settings


@pytest.fixture(scope="module")
def own(checkout: Checkout, server: FakeServer) -> str:
    """The small recipe of one domain, with both stages of the page."""
    config = small_config(checkout, server)
    domain = {"sources": ["sums"], "select": {"by": "random"}}
    dropping, asking = (follow(checkout, f"A stage that {does}") for does in ("drops questions", "asks a model"))
    assert set(asking) == {"topics"}
    config["recipes"]["tiny"]["domains"] = {"math": {**domain, **dropping, "topics": "oracle"}}
    return checkout.write_config(config)


@pytest.mark.slow
def test_a_recipe_with_both_stages_of_the_page_runs(checkout: Checkout, own: str, server: FakeServer) -> None:
    results = checkout.folder / "results/tiny"
    jobs = checkout.jobs("--configfile", own)
    assert (jobs["drop_short"], jobs["find_topics"]) == (1, 1)
    checkout.snakemake("--configfile", own, "--cores", "2", "--quiet", "rules")

    (long,) = results.glob("long/*/questions.parquet")
    assert pl.read_parquet(long)["question"].to_list() == ["What is 10 plus 10 in math?", "What is 11 plus 11 in math?"]
    manifest = json.loads((results / "recipes/tiny/manifest.json").read_text())
    (level,) = [row for row in manifest["funnel"] if row["stage"] == "long"]
    assert (level["rows"], level["dropped"]) == (2, {"under 26 characters": 10})
    assert "long enough" in (results / "recipes/tiny/report.html").read_text()
    assert "long enough" in (results / "recipes/tiny/plots/funnel.tsv").read_text()

    (topics,) = results.glob("topics/*/completions.parquet")
    before = topics.read_bytes()
    assert pl.read_parquet(topics).height == 2
    assert re.search(r"^topics +2 of 12 ", checkout.snakemake("--configfile", own, "--", "plan"), re.MULTILINE)
    asked = sum(server.asked.values())
    topics.unlink()
    said = checkout.snakemake("--configfile", own, "--quiet", "rules", "--", "from_store")
    assert "1 shards written" in said
    assert topics.read_bytes() == before
    assert sum(server.asked.values()) == asked


def test_no_id_of_a_recipe_without_them_changes(checkout: Checkout, own: str) -> None:
    ids = (ROOT / "tests/data/stage_ids.txt").read_text()
    listed = checkout.snakemake("-n", "--configfile", "config.yaml", "--", "all")
    drawn = set(re.findall(r"results/(drawn/[a-z0-9._-]+-[0-9a-f]{12})/questions", listed))
    assert drawn
    assert all(f"default {identity}\n" in ids for identity in drawn)
