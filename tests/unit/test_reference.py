"""The reference pages say what the schemas say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import write_reference
from openthoughts.plan.config import schema

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


@pytest.mark.parametrize(("name", "which"), [("configuration", "config"), ("catalog", "catalog")])
def test_every_key_is_told(name: str, which: str) -> None:
    text = (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8")
    conditions = {"kind"}  # of `if` and `then`
    assert {key for key in keys(schema(which)) if f"| `{key}` |" not in text} <= conditions


def test_a_page_that_is_not_up_to_date_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_reference.main(["--output", str(tmp_path)]) == 0
    assert write_reference.main(["--output", str(tmp_path), "--check"]) == 0
    page = tmp_path / "catalog.md"
    page.write_text(page.read_text() + "old")
    assert write_reference.main(["--output", str(tmp_path), "--check"]) == 1
    assert "run scripts/write_reference.py" in capsys.readouterr().err
