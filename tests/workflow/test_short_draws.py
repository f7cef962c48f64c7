"""A source with nineteen rows a question: its draw is reached, and one that cannot be is told, early or late."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
import pytest
from tests.fake_openai import FakeServer
from tests.workflow.conftest import Checkout, small_config

from openthoughts.plan.config import with_setting

pytestmark = pytest.mark.slow

MATH = "recipes.tiny.domains.math"
QUESTIONS, ROWS = 40, 19


@pytest.fixture(scope="module")
def config(checkout: Checkout, server: FakeServer) -> dict[str, Any]:
    """The small recipe over such a source, of which the catalog does not say how much it has."""
    config = small_config(checkout, server)
    own = checkout.folder / "own"
    texts = [f"What is {number} plus {number} times seven?" for number in range(QUESTIONS)]
    rows = "".join(json.dumps({"question": text}) + "\n" for text in texts for _ in range(ROWS))
    (own / "sums.jsonl").write_text(rows)
    sources = (own / "sources.yaml").read_text().replace("rows: 12", "seed: 0")
    (own / "sources.yaml").write_text(sources)
    for path, value in (("select", {"by": "random", "keep": 30}), ("draw", 25)):
        config = with_setting(config, f"{MATH}.{path}", value)
    return config


def drawn(checkout: Checkout) -> list[pl.DataFrame]:
    return [pl.read_parquet(path) for path in checkout.folder.glob("results/tiny/drawn/math-*/questions.parquet")]


def until_drawn(checkout: Checkout, config: dict[str, Any], fails: bool = False) -> str:
    own = checkout.write_config(config)
    return checkout.snakemake("--configfile", own, "--until", "draw_questions", "--retries", "0", fails=fails)


def test_the_draw_is_reached_and_a_short_one_fails_until_it_is_allowed(
    checkout: Checkout, config: dict[str, Any]
) -> None:
    until_drawn(checkout, config)
    (table,) = drawn(checkout)
    assert table["question_id"].n_unique() == table.height == 25

    more = with_setting(with_setting(config, f"{MATH}.select.keep", 60), f"{MATH}.draw", 60)
    said = checkout.logs_of(until_drawn(checkout, more, fails=True))
    assert "60 rows are wanted and 40 are there, 20 are missing" in said
    assert f"{QUESTIONS * ROWS} rows of {QUESTIONS} different questions were read" in said
    assert re.search(r"`deduplicated` dropped 720 rows \(0 questions\): 720 exact", said)
    assert len(drawn(checkout)) == 1

    allowed = with_setting(more, f"{MATH}.short", "allowed")
    jobs = checkout.jobs("--configfile", checkout.write_config(allowed), "--until", "draw_questions")
    assert {rule: count for rule, count in jobs.items() if rule != "total"} == {"draw_questions": 1}
    until_drawn(checkout, allowed)
    assert sorted(table.height for table in drawn(checkout)) == [25, 40]
    assert "draw_questions" not in checkout.jobs("--configfile", checkout.write_config(more))


def test_the_dry_run_tells_what_the_catalog_knows(checkout: Checkout, config: dict[str, Any]) -> None:
    numbers = f"rows: {QUESTIONS * ROWS}\n  questions: {QUESTIONS}"
    known = (checkout.folder / "own/sources.yaml").read_text().replace("seed: 0", numbers)
    folder = checkout.folder / "known"
    folder.mkdir()
    (folder / "sources.yaml").write_text(known)
    config = {**config, "catalog": [*config["catalog"], "known"]}
    checkout.jobs("--configfile", checkout.write_config(config))
    more = with_setting(with_setting(config, f"{MATH}.select.keep", 60), f"{MATH}.draw", 50)
    said = checkout.snakemake("--configfile", checkout.write_config(more), "-n", fails=True)
    assert f"{MATH}.select.keep: 60 different questions are to be kept, and sums has 40" in said
    assert f"{MATH}.draw: 50 different questions are to be drawn of at most 40 that are kept" in said
    checkout.jobs("--configfile", checkout.write_config(with_setting(more, f"{MATH}.fill", True)))
