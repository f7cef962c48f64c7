"""The catalog's verified sources, read from rows in their real schemas through a hub on loopback."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import polars as pl
import pyarrow as pa
import pytest
import yaml
from tests.fake_hub import FakeHub

from openthoughts.sources import hub as connector
from openthoughts.sources.entries import fetched_entry
from openthoughts.sources.reading import read_questions

SOURCES = yaml.safe_load(Path("catalog/sources.yaml").read_text(encoding="utf-8"))
BENCHMARKS = yaml.safe_load(Path("catalog/benchmarks.yaml").read_text(encoding="utf-8"))
FIXTURES = yaml.safe_load(Path("tests/data/source_schemas.yaml").read_text(encoding="utf-8"))


def content(path: str, rows: list[dict[str, Any]]) -> bytes:
    """The file that holds these rows, in the format of its name."""
    if path.endswith(".json"):
        return json.dumps(rows).encode()
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


def posts(rows: list[dict[str, str]]) -> str:
    """A dump's ``Posts.xml`` of these rows."""
    lines = ["".join(f" {key}={quoteattr(value)}" for key, value in row.items()) for row in rows]
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
        + "".join(f"  <row{row} />\n" for row in lines)
        + "</posts>\n"
    )


@pytest.mark.parametrize("name", [name for name in FIXTURES if "posts" in FIXTURES[name]])
def test_the_questions_of_a_site(tmp_path: Path, name: str) -> None:
    dump = tmp_path / "Posts.xml"
    dump.write_text(posts(FIXTURES[name]["posts"]), encoding="utf-8")
    table = pl.concat(read_questions(name, SOURCES[name]["domain"], {**SOURCES[name], "url": str(dump)}, None))
    assert table["question"].to_list() == FIXTURES[name]["questions"]


@pytest.mark.parametrize("name", [name for name in FIXTURES if "datasets" in FIXTURES[name]])
def test_the_questions_of_a_dataset(hub: FakeHub, name: str) -> None:
    fixture, entry = FIXTURES[name], fetched_entry({**SOURCES, **BENCHMARKS}[name])
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
    if "metadata" in fixture:
        assert [json.loads(one) for one in table["metadata"]] == fixture["metadata"]
    if "choice" in fixture:
        choices = json.loads(table["metadata"][0])["choices"]
        assert len(choices) == 4
        assert choices["ABCD".index(table["reference_answer"][0])] == fixture["choice"]


def test_what_is_called_verified_has_rows_that_prove_it() -> None:
    verified = {name for name, entry in SOURCES.items() if entry["verified"]}
    assert verified == set(FIXTURES) - set(BENCHMARKS)
    assert all(BENCHMARKS[name]["verified"] for name in FIXTURES if name in BENCHMARKS)
    assert all(fixture["address"].startswith("https://") for fixture in FIXTURES.values())
    for fixture in FIXTURES.values():
        files = [rows for made in fixture.get("datasets", {}).values() for rows in made["files"].values()]
        assert len(fixture.get("posts", [])) + sum(map(len, files)) >= 2


def test_the_sources_of_the_default_recipe_are_verified() -> None:
    (recipe,) = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))["recipes"].values()
    used = {source for domain in recipe["domains"].values() for source in domain["sources"]}
    assert len(used) == 5
    assert all("columns" not in FIXTURES[source] for source in used), "by their own public cards"


def test_the_documentation_counts_what_is_verified() -> None:
    sources = [name for name in FIXTURES if name in SOURCES]
    by = Counter(FIXTURES[name].get("columns", "card") for name in sources)
    assert set(by) == {"card", "copy", "code"}
    unresolved = [name for name, entry in SOURCES.items() if entry["connector"] == "unresolved"]
    benchmarks = [name for name in FIXTURES if name in BENCHMARKS]
    unverified = len(SOURCES) - len(sources) - len(unresolved)
    counts = (
        f"Of the {len(SOURCES)} sources {len(sources)} are verified ({by['card']} by the dataset's own public card, "
        f"{by['copy']} by the card of a copy, {by['code']} by public code that loads the dataset), "
        f"{unverified} are not, and {len(unresolved)} are unresolved; "
        f"{len(benchmarks)} of the {len(BENCHMARKS)} benchmarks are proved in the same way."
    )
    assert counts in Path("docs/sources.md").read_text(encoding="utf-8")
