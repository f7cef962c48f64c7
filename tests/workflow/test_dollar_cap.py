"""A cap in dollars over a recipe that asks a hosted and a local model, through the whole workflow and a real engine."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.fake_openai import FakeServer
from tests.workflow.conftest import Checkout, small_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PRICE = {"input": 1000.0, "output": 1000.0}
"""Dollars per million tokens: a label costs some cents."""


def own_config(checkout: Checkout, server: FakeServer) -> dict[str, Any]:
    """The small recipe, with labels of a hosted model that has a price and answers of a local one that has none."""
    config = small_config(checkout, server)
    path = checkout.folder / "own/models.yaml"
    models = yaml.safe_load(path.read_text())
    models["oracle"]["price"] = PRICE
    path.write_text(yaml.safe_dump(models))
    answers = {"teacher": "smollm2-135m-instruct", "samples": 1, "shards": 1, "sampling": {"max_tokens": 8}}
    math = config["recipes"]["tiny"]["domains"]["math"]
    select = {**math["select"], "sampling": {"max_tokens": 64}}
    domains = {"math": {**math, "select": select, "limit": {"tokenizer": "qwen"}}}
    recipe = {**config["recipes"]["tiny"], "answers": answers, "domains": domains}
    return {**config, "catalog": ["catalog", "demo/catalog", "own"], "accelerator": "cpu", "recipes": {"tiny": recipe}}


def test_a_cap_counts_the_hosted_model_and_lets_the_local_one_answer(checkout: Checkout, server: FakeServer) -> None:
    config = own_config(checkout, server)
    tight = checkout.write_config({**config, "budget": {"usd": 0.1}}, "tight.yaml")
    stopped = checkout.snakemake("--configfile", tight, "--cores", "2", fails=True)
    assert "are expected, the budget is $0.10: asking stops there." in stopped
    assert "the budget of 0.10 USD does not pay for another answer" in checkout.logs_of(stopped)
    wide = checkout.write_config({**config, "budget": {"usd": 5}}, "wide.yaml")
    checkout.snakemake("--configfile", wide, "--cores", "2")
    dataset = pl.read_parquet(checkout.folder / "results/tiny/recipes/tiny/dataset/dataset.parquet")
    assert dataset.height == 8
    checkout.snakemake("--configfile", wide, "--cores", "1", "--", "plan")
    plan = {row["stage"]: row for row in rows(checkout.folder / "results/tiny/plan.tsv") if row["what"] == "so far"}
    assert 0 < float(plan["labels"]["spent_usd"]) <= 5
    assert float(plan["answers"]["spent_usd"]) == 0


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table of tab-separated values."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
