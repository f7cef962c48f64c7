"""The page that shows how to add a filter, followed to the letter in a checkout of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.answer_tables import answers, drawn
from tests.fake_openai import FakeServer
from tests.workflow.conftest import ROOT, Checkout, small_config

PAGE = (ROOT / "docs" / "extending" / "filter.md").read_text(encoding="utf-8")


def blocks(part: str, language: str) -> list[str]:
    """The code blocks of a section of the page."""
    section = PAGE.split(f"## {part}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def config(checkout: Checkout, server: FakeServer) -> dict[str, Any]:
    """The small recipe in a checkout to which both filters of the page were added."""
    code = blocks("A filter of questions", "python")[0]
    (checkout.folder / "scripts/openthoughts/questions/labels/numbers.py").write_text(code)
    (code,) = blocks("A filter of answers", "python")
    (checkout.folder / "scripts/openthoughts/answers/filters/wordy.py").write_text(code)
    config = small_config(checkout, server)
    select = blocks("A filter of questions", "yaml")[0]
    math = config["recipes"]["tiny"]["domains"]["math"]
    config["recipes"]["tiny"]["domains"] = {"math": {**math, **yaml.safe_load(select), "draw": 4}}
    config["recipes"]["tiny"]["filter"] = {"by": "wordy", "options": {"at_least": 3}}
    return config


@pytest.mark.slow
def test_a_recipe_selects_by_the_new_filter_of_questions(checkout: Checkout, config: dict[str, Any]) -> None:
    own = checkout.write_config(config)
    assert checkout.jobs("--configfile", own)["filter_answers"] == 1
    checkout.snakemake("--configfile", own, "--cores", "2", "--quiet", "rules", "--until", "select_questions")
    (selected,) = (checkout.folder / "results/tiny/selected").glob("*/questions.parquet")
    assert pl.read_parquet(selected)["label"].to_list() == [2.0] * 4


def test_the_new_filter_of_answers_runs(checkout: Checkout, config: dict[str, Any], tmp_path: Path) -> None:
    texts = {"Which?": ["one two three", "one", "two", None, "four words are enough"]}
    questions, given = drawn(tmp_path / "d.parquet", list(texts)), answers(tmp_path / "a.parquet", texts)
    command = [sys.executable, "scripts/filter_answers.py", "--questions", str(questions), "--answers", str(given)]
    command += ["--by", "wordy", "--options", json.dumps(config["recipes"]["tiny"]["filter"]["options"] | {"keep": 1})]
    command += ["--output", f"{tmp_path}/kept.parquet", "--dropped", f"{tmp_path}/dropped.parquet"]
    subprocess.run(command, cwd=checkout.folder, check=True, capture_output=True)
    assert pl.read_parquet(tmp_path / "kept.parquet")["sample"].to_list() in ([0], [4])
    reasons = pl.read_parquet(tmp_path / "dropped.parquet")["reason"].to_list()
    assert sorted(reasons) == [
        "failed: refused by the content filter", "not among the 1 in all", "too few words", "too few words",
    ]  # fmt: skip
