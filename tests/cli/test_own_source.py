"""The lines of docs/sources.md with which a user adds questions of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import yaml

import fetch_source

DOCUMENT = Path("docs/sources.md").read_text(encoding="utf-8")


def own_entry() -> tuple[str, dict[str, object]]:
    block = re.search(r"```yaml\n(my-questions:.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    assert len(block[1].strip().splitlines()) == 1 + 4
    ((name, entry),) = yaml.safe_load(block[1]).items()
    return name, entry


def test_four_lines_add_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, entry = own_entry()
    Path(tmp_path, str(entry["path"])).write_text('{"question": "What is 2 + 2?"}\n{"question": "And 3 + 3?"}\n')
    monkeypatch.chdir(tmp_path)
    arguments = ["--name", name, "--domain", str(entry["domain"]), "--entry", json.dumps(entry)]
    assert fetch_source.main([*arguments, "--output", "questions.parquet"]) == 0
    table = pl.read_parquet("questions.parquet")
    assert table["question"].to_list() == ["What is 2 + 2?", "And 3 + 3?"]
    assert set(table["source"]) == {"my-questions"}
