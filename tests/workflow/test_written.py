"""Documents to questions in a whole workflow: planned, asked over real HTTP, and only as far as questions are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.fake_openai import FakeServer
from tests.workflow.conftest import Checkout, small_config

DOCUMENTS = ["Copper conducts.", "Contents: 1, 2, 3.", "Zinc dissolves.", "Poems are long.", "Iron rusts."]


def answer(body: dict[str, Any]) -> str:
    """What a model might say at each step: a table of contents holds no question, and poems are no science."""
    text = body["messages"][-1]["content"].rpartition(":\n\n")[2]
    step = body["response_format"]["json_schema"]["name"]
    if step == "check":
        return json.dumps({"reasoning": "r", "answerable": True, "of_domain": "Poems" not in text})
    question = None if "Contents" in text else f"Is it true: {text}" if step == "write" else f"{text} Say why"
    return json.dumps({"reasoning": "r", "question": question})


@pytest.fixture(scope="module")
def writer() -> Iterator[FakeServer]:
    with FakeServer(answer=answer) as running:
        yield running


@pytest.fixture(scope="module")
def config(checkout: Checkout, writer: FakeServer) -> dict[str, Any]:
    """The small recipe with one domain, whose questions are written from documents of this machine."""
    config = small_config(checkout, writer)
    own = checkout.folder / "own"
    rows = "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS)
    (own / "documents.jsonl").write_text(rows)
    entry = {
        "connector": "written",
        "domain": "science",
        "documents": {"connector": "local", "path": "own/documents.jsonl", "column": "text"},
        "model": "oracle",
        "rows": 5,
        "questions_per_shard": 3,
    }
    sources = yaml.safe_load((own / "sources.yaml").read_text())
    (own / "sources.yaml").write_text(yaml.safe_dump({**sources, "documents": entry}))
    config["recipes"]["tiny"]["domains"] = {"science": {"sources": ["documents"], "select": {"by": "random"}}}
    return config


def test_the_dry_run_shows_every_step(checkout: Checkout, config: dict[str, Any]) -> None:
    jobs = checkout.jobs("--configfile", checkout.write_config(config))
    assert jobs["fetch_source"] == 1
    assert jobs["write_questions"] == 3 * 2
    assert jobs["read_written"] == 3
    assert jobs["decontaminate"] == 1


def test_questions_are_written_refined_and_checked(
    checkout: Checkout, config: dict[str, Any], writer: FakeServer
) -> None:
    own = checkout.write_config(config)
    checkout.snakemake("--configfile", own, "--quiet", "rules", "--until", "decontaminate")
    results = checkout.folder / "results/tiny"
    (clean,) = (results / "clean").glob("*/questions.parquet")
    kept = pl.read_parquet(clean).sort("source_row")
    assert kept["question"].to_list() == [
        f"Is it true: {text} Say why" for text in ("Copper conducts.", "Zinc dissolves.", "Iron rusts.")
    ]
    assert kept["source"].unique().to_list() == ["documents"]
    dropped = [pl.read_parquet(path) for path in (results / "written").glob("*/dropped.parquet")]
    reasons = pl.concat(dropped).select("source_row", "reason").sort("source_row").rows()
    assert reasons == [("1", "no question"), ("3", "not of the domain")]
    assert sum(writer.asked.values()) == 5 + 4 + 4


def test_nothing_is_asked_again_when_results_are_lost(
    checkout: Checkout, config: dict[str, Any], writer: FakeServer
) -> None:
    lost = next((checkout.folder / "results/tiny/written").glob("*/questions.parquet"))
    for path in (lost, *lost.parent.glob("completions/*")):
        Path(path).unlink()
    before = sum(writer.asked.values())
    own = checkout.write_config(config)
    checkout.snakemake("--configfile", own, "--quiet", "rules", "--until", "decontaminate")
    assert lost.exists()
    assert sum(writer.asked.values()) == before
