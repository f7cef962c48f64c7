"""The reference pages say what the schemas say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import write_reference
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.settings.entries import CatalogFiles
from openthoughts.report.reference import json_schema

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_are_those_of_the_schemas() -> None:
    assert write_reference.main(["--check"]) == 0, "run scripts/write_reference.py"


def keys(value: Any) -> Iterator[str]:
    """Every key that a schema describes."""
    if isinstance(value, Mapping):
        if isinstance(value.get("properties"), Mapping):
            yield from value["properties"]
        for one in value.values():
            yield from keys(one)


def test_a_key_that_is_part_of_other_ids_says_of_which() -> None:
    text = (ROOT / "docs/reference/catalog.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for key in ("grader", "samples", "judge"):
        assert "Part of the ids of evaluations only. |" in rows[key]
    for key in ("group", "averaged"):
        assert "Part of the ids of experiments only. |" in rows[key]
    assert "Never part of an id. |" in rows["licence"]


@pytest.mark.parametrize(("name", "model"), [("configuration", Configuration), ("catalog", CatalogFiles)])
def test_every_key_is_told(name: str, model: type[BaseModel]) -> None:
    text = (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8")
    assert {key for key in keys(json_schema(model)) if f"| `{key}` |" not in text} == set()


def test_a_page_that_is_not_up_to_date_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--output", str(tmp_path), "--schemas", str(tmp_path)]
    assert write_reference.main(folders) == 0
    assert write_reference.main([*folders, "--check"]) == 0
    page = tmp_path / "catalog.md"
    page.write_text(page.read_text() + "old")
    assert write_reference.main([*folders, "--check"]) == 1
    assert "run scripts/write_reference.py" in capsys.readouterr().err
