"""The catalog's verified sources, read from rows in their real schemas through a hub on loopback."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import yaml
from tests.fake_hub import FakeHub

from lib.sources import hub as connector
from lib.sources import read_questions

SOURCES = yaml.safe_load(Path("catalog/sources.yaml").read_text(encoding="utf-8"))
BENCHMARKS = yaml.safe_load(Path("catalog/benchmarks.yaml").read_text(encoding="utf-8"))
FIXTURES = yaml.safe_load(Path("tests/data/source_schemas.yaml").read_text(encoding="utf-8"))


def content(path: str, rows: list[dict[str, Any]]) -> bytes:
    """The file that holds these rows, in the format of its name."""
    if path.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    buffer = io.BytesIO()
    if path.endswith(".zip"):
        with zipfile.ZipFile(buffer, "w") as archive:
            for number, row in enumerate(rows):
                archive.writestr(f"{number:03}.json", json.dumps(row))
        return buffer.getvalue()
    table = pl.DataFrame(rows)
    if path.endswith(".csv"):
        return table.write_csv().encode()
    if path.endswith(".parquet"):
        table.write_parquet(buffer)
    else:
        arrow = table.to_arrow()
        with pa.ipc.new_stream(buffer, arrow.schema) as stream:
            stream.write_table(arrow)
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    connector._repository_files.cache_clear()
    with FakeHub().running() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


@pytest.mark.parametrize("name", FIXTURES)
def test_the_questions_of_a_source(hub: FakeHub, name: str) -> None:
    fixture, entry = FIXTURES[name], {**SOURCES, **BENCHMARKS}[name]
    commits = {}
    for dataset, made in fixture["datasets"].items():
        files: dict[str, bytes | str] = {path: content(path, rows) for path, rows in made["files"].items()}
        if "card" in made:
            files["README.md"] = f"---\n{made['card']}---\n"
        commits[dataset] = hub.commit(dataset, files)
    revision = ",".join(f"{dataset}@{commit}" for dataset, commit in commits.items())
    table = pl.concat(read_questions(name, entry["domain"], entry, revision))
    assert table["question"].to_list() == fixture["questions"]
    assert table["source_row"].is_unique().all()
    if "answers" in fixture:
        assert table["reference_answer"].to_list() == fixture["answers"]
    if "choice" in fixture:
        choices = json.loads(table["metadata"][0])["choices"]
        assert len(choices) == 4
        assert choices["ABCD".index(table["reference_answer"][0])] == fixture["choice"]


def test_what_is_called_verified_has_rows_that_prove_it() -> None:
    verified = {name for name, entry in SOURCES.items() if entry["verified"] and entry["connector"] == "hub"}
    assert verified == set(FIXTURES) - set(BENCHMARKS)
    assert all(BENCHMARKS[name]["verified"] for name in FIXTURES if name in BENCHMARKS)
    assert all(fixture["address"].startswith("https://") for fixture in FIXTURES.values())
