"""A recipe that looks at a share of its sources, through the whole workflow to its page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from tests.fake_openai import FakeServer
from tests.workflow.conftest import Checkout, small_config

LEAST = 5


@pytest.fixture(scope="module")
def teacher() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture(scope="module")
def config(checkout: Checkout, teacher: FakeServer) -> dict[str, Any]:
    """The small recipe's domain of sums, of which a hundredth is looked at, five questions at least."""
    config = small_config(checkout, teacher)
    recipe = config["recipes"]["tiny"]
    recipe["thin"] = {"share": 0.01, "least": LEAST}
    recipe["domains"] = {"math": {**recipe["domains"]["math"], "draw": 3, "short": "allowed"}}
    return config


def test_a_share_is_one_job_for_each_source(checkout: Checkout, config: dict[str, Any]) -> None:
    jobs = checkout.jobs("--configfile", checkout.write_config(config))
    assert jobs["thin_source"] == 1
    whole = {**config, "recipes": {"tiny": {**config["recipes"]["tiny"], "thin": {"share": 1}}}}
    assert "thin_source" not in checkout.jobs("--configfile", checkout.write_config(whole))


def test_the_default_recipe_has_a_pilot(checkout: Checkout) -> None:
    whole, pilot = checkout.jobs(), checkout.jobs("--config", "size=pilot")
    assert pilot["thin_source"] == 5
    assert set(pilot) == {*whole, "thin_source"}
    assert pilot["label_questions"] == 5 < whole["label_questions"] / 5
    assert pilot["sample_answers"] < whole["sample_answers"] / 10


@pytest.mark.slow
def test_only_what_is_looked_at_is_asked_about_and_the_rest_is_counted_and_explained(
    checkout: Checkout, config: dict[str, Any], teacher: FakeServer
) -> None:
    own = checkout.write_config(config)
    checkout.snakemake("--configfile", own, "--cores", "2", "--quiet", "rules")
    assert sum(teacher.asked.values()) == LEAST + 3, "labels, which are the first of two answers to each of three"
    results = checkout.folder / "results/tiny"
    funnel = json.loads((results / "recipes/tiny/manifest.json").read_text())["funnel"]
    levels = {row["stage"]: row for row in funnel if row["source"] == "sums"}
    assert levels["source"]["rows"] == 12
    assert levels["thinned"]["rows"] == LEAST
    assert levels["thinned"]["dropped"] == {f"not among the {LEAST} questions looked at": 12 - LEAST}
    page = (results / "recipes/tiny/report.html").read_text()
    assert f"thinned: {LEAST} (−{12 - LEAST})" in page
    (dropped,) = (results / "thinned").glob("*/dropped.parquet")
    question = pl.read_parquet(dropped)["question_id"][0]
    command = [sys.executable, str(checkout.folder / "scripts/explain.py"), question, "--results", str(results)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"not among the {LEAST} questions looked at" in told
