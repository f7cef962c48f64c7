"""Rows are counted where they can be: in local files by the plan, by the cards of datasets with the lock."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import yaml
from tests.fake_hub import FakeHub

import lock
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_yaml
from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.planner import make_plan
from openthoughts.sources import cards, counts, formats
from openthoughts.sources.entries import counted_rows

WORKFLOW = Path(__file__).resolve().parents[2]

ROWS = 321


def rows(entry: dict[str, Any]) -> int | None:
    counted = counted_rows(entry)
    return counted.rows if counted else None


def records(number: int = ROWS) -> list[dict[str, str]]:
    return [{"question": f'What is {one}\nplus "{one}", and why?' + " Think." * (one % 40)} for one in range(number)]


def write(path: Path, number: int = ROWS) -> Path:
    """A file of so many questions, each of several lines, in the format that its name says."""
    rows = records(number)
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path, row_group_size=50)
    elif suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=50)
    elif suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["question"], delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    else:
        text = json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows)) + "\n\n"
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def local(path: Path, **more: Any) -> dict[str, Any]:
    return {"connector": "local", "domain": "math", "path": str(path), "column": "question", **more}


FORMATS = ("q.parquet", "q.arrow", "q.jsonl", "q.ndjson", "q.jsonl.gz", "q.json", "q.json.gz", "q.csv", "q.tsv")


class TestFiles:
    @pytest.mark.parametrize("name", FORMATS)
    def test_a_file_is_counted(self, tmp_path: Path, name: str) -> None:
        assert rows(local(write(tmp_path / name))) == ROWS

    @pytest.mark.parametrize("name", [name for name in FORMATS if not name.endswith(".gz")])
    def test_a_file_named_otherwise_is_counted_by_its_format(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / name).rename(tmp_path / "questions.data")
        assert rows(local(path, format=formats.FORMATS[Path(name).suffix])) == ROWS

    @pytest.mark.parametrize("name", ["q.jsonl", "q.csv", "q.json", "q.jsonl.gz", "q.json.gz"])
    def test_of_a_large_text_the_first_lines_tell_how_many_rows_there_are(
        self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counts, "READ_BYTES", 1 << 20)
        path = write(tmp_path / name, 30_000)
        assert rows(local(path)) == pytest.approx(30_000, rel=0.3 if path.suffix == ".gz" else 0.1)

    def test_a_folder_has_the_rows_of_its_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "of").mkdir()
        for number in range(6):
            write(tmp_path / "of" / f"{number}.jsonl", 100)
            write(tmp_path / "of" / f"{number}.parquet", 10)
        (tmp_path / "of/notes.txt").write_text("no table\n")
        assert rows(local(tmp_path / "of")) == 660
        monkeypatch.setattr(counts, "MOST_FILES", 6)
        assert rows(local(tmp_path / "of")) == pytest.approx(660, rel=0.05)

    @pytest.mark.parametrize(
        ("more", "expected"), [({"limit": 20}, 20), ({"repeat_to": 1000}, 1000), ({"limit": 999}, ROWS)]
    )
    def test_what_an_entry_takes_of_its_rows_counts(self, tmp_path: Path, more: dict[str, Any], expected: int) -> None:
        assert rows(local(write(tmp_path / "q.jsonl"), **more)) == expected

    def test_texts_that_are_cut_into_passages_are_not_counted(self, tmp_path: Path) -> None:
        assert rows(local(write(tmp_path / "q.jsonl"), passage=100)) is None

    @pytest.mark.parametrize("name", ["q.parquet", "q.arrow", "q.json", "q.jsonl.gz", "q.zip"])
    def test_what_cannot_be_read_is_unknown_and_no_stack_trace(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"\x00\x01 no table at all")
        assert rows(local(tmp_path / name)) is None
        assert rows(local(tmp_path / "nowhere")) is None

    def test_a_damaged_archive_is_unknown(self, tmp_path: Path) -> None:
        path = write(tmp_path / "q.jsonl.gz")
        content = bytearray(path.read_bytes())
        content[20:200] = b"\xff" * 180
        path.write_bytes(content)
        assert rows(local(path)) is None

    def test_what_was_read_without_finding_a_row_is_unknown_not_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counts, "READ_BYTES", 1 << 10)
        (tmp_path / "q.json").write_text(json.dumps([{"question": "Why? " * 1000}]))
        assert rows(local(tmp_path / "q.json")) is None
        monkeypatch.setattr(counts, "MOST_FILES", 2)
        folder = tmp_path / "of"
        folder.mkdir()
        for name in "ab":
            (folder / f"{name}.jsonl").write_text("")
        write(folder / "c.jsonl", 5)
        assert rows(local(folder)) is None

    def test_an_estimate_is_told_apart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counts, "READ_BYTES", 1 << 10)
        path = tmp_path / "q.jsonl"
        path.write_text(json.dumps({"question": "Why? " * 1000}) + "\n" + '{"question": "What?"}\n' * 5000)
        counted = counted_rows(local(path))
        assert counted is not None
        assert counted.rows < 1000
        assert not counted.is_exact
        config = {**read_yaml(WORKFLOW / "config.yaml"), "targets": ["own"]}
        domain = {"sources": ["own"], "select": {"by": "random", "keep": 2000}, "draw": 1000}
        config["recipes"] = {"own": {**config["recipes"]["openthoughts3"], "domains": {"math": domain}}}
        catalog = read_catalog([WORKFLOW / "catalog"])
        make_plan(config, replace(catalog, sources={**catalog.sources, "own": local(path)}))

    @pytest.mark.parametrize("more", [{"limit": None}, {"repeat_to": 0}])
    def test_what_is_null_is_not_given(self, tmp_path: Path, more: dict[str, Any]) -> None:
        assert rows(local(write(tmp_path / "q.jsonl"), **more)) == ROWS

    def test_a_file_that_changes_is_counted_again(self, tmp_path: Path) -> None:
        path = write(tmp_path / "q.jsonl", 3)
        assert rows(local(path)) == 3
        assert rows(local(write(path, 5))) == 5

    def test_generated_questions_are_counted(self) -> None:
        families = {"gcd": {}, "bf": {"size": 7}}
        assert rows({"connector": "procedural", "domain": "math", "size": 5, "families": families}) == 12
        assert rows({"connector": "procedural", "domain": "math", "families": ["gcd", "bf"]}) == 200

    def test_documents_of_a_written_source_are_counted(self, tmp_path: Path) -> None:
        documents = local(write(tmp_path / "q.jsonl"))
        assert rows({"connector": "written", "domain": "math", "documents": documents, "model": "m"}) == ROWS


RECIPE = {
    "decontaminate": {"benchmarks": []},
    "answers": {"teacher": "qwq-32b", "samples": 2, "answers_per_shard": 100},
    "domains": {
        "math": {
            "sources": ["own"],
            "select": {"by": "response_length", "model": "gpt-4.1-mini", "questions_per_shard": 100},
        }
    },
}


def catalog_of(folder: Path, **entries: dict[str, Any]) -> Path:
    (folder / "own").mkdir(exist_ok=True)
    (folder / "own/sources.yaml").write_text(yaml.safe_dump(entries))
    return folder / "own"


class TestThePlan:
    def test_a_local_source_without_rows_has_its_shards_and_keeps_its_id(self, tmp_path: Path) -> None:
        entry = local(write(tmp_path / "q.csv"))
        config = {"targets": ["r"], "recipes": {"r": RECIPE}}
        plans = [
            make_plan(config, read_catalog([catalog_of(tmp_path, own=each)]))
            for each in (entry, {**entry, "rows": ROWS})
        ]
        for plan in plans:
            shards = {stage.kind: stage.execution.get("shards") for stage in plan.index.values()}
            assert (shards["labels"], shards["answers"]) == (4, 7)
        assert set(plans[0].index) == set(plans[1].index)

    def test_what_the_catalog_says_wins(self, tmp_path: Path) -> None:
        folder = catalog_of(tmp_path, own=local(write(tmp_path / "q.csv"), rows=99))
        assert Builder(read_catalog([folder])).fetched("source", "own").execution["rows"] == 99

    @pytest.mark.parametrize(("name", "loads"), [("q.jsonl", False), ("q.csv", False), ("q.parquet", True)])
    def test_text_is_counted_without_what_is_slow_to_import(self, tmp_path: Path, name: str, loads: bool) -> None:
        code = (
            "import sys; from openthoughts.sources.entries import counted_rows;"
            f"assert counted_rows({local(write(tmp_path / name))!r}).rows == {ROWS};"
            "print([name for name in ('polars', 'pyarrow', 'numpy', 'datasets') if name in sys.modules])"
        )
        environ = {**os.environ, "PYTHONPATH": str(WORKFLOW / "scripts")}
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
        assert ("polars" in told.stdout, "datasets" in told.stdout) == (False, False)
        assert ("pyarrow" in told.stdout) == loads


def test_the_card_says_nothing_of_some_files_of_a_dataset() -> None:
    part = {"dataset": "a/one", "files": "data/python/*.parquet"}
    assert cards.told_rows({"connector": "hub", **part}, "0" * 40) is None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    monkeypatch.setattr("openthoughts.plan.catalog.WORKFLOW", tmp_path / "workflow")  # which ships no catalog here
    (tmp_path / "workflow" / "catalog").mkdir(parents=True)
    cards._card_info.cache_clear()
    with FakeHub().running() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


def card(*configs: dict[str, Any]) -> str:
    """The card of a dataset that says how many rows its splits have."""
    told = configs[0] if len(configs) == 1 else list(configs)
    return f"---\n{yaml.safe_dump({'license': 'mit', 'dataset_info': told})}---\n# A dataset\n"


def splits(**rows: int) -> dict[str, Any]:
    return {"splits": [{"name": name, "num_bytes": 9, "num_examples": number} for name, number in rows.items()]}


def dataset(name: str, **more: Any) -> dict[str, Any]:
    return {"connector": "hub", "domain": "math", "dataset": name, "column": "q", **more}


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    given = ["--catalog", str(folder), "--output", str(folder / "lock.yaml"), *arguments]
    assert lock.main(given) == 0
    written: dict[str, Any] = yaml.safe_load((folder / "lock.yaml").read_text())
    return written


class TestTheLock:
    def test_the_rows_of_the_pinned_split_are_noted_and_planned_with(self, hub: FakeHub, tmp_path: Path) -> None:
        hub.commit("a/one", {"README.md": card(splits(train=1200, test=50))})
        hub.commit(
            "a/two",
            {"README.md": card({"config_name": "x", **splits(train=7)}, {"config_name": "y", **splits(train=30)})},
        )
        hub.commit("a/mute", {"README.md": "# Nothing is said\n"})
        hub.commit("a/bare", {"train.jsonl": "{}\n"})
        folder = catalog_of(
            tmp_path,
            one=dataset("a/one"),
            held=dataset("a/one", split="test", limit=20),
            two=dataset("a/two", config="y"),
            both={**dataset("a/one"), "parts": [{}, {"dataset": "a/two", "config": "x"}]},
            unclear=dataset("a/two"),
            mute=dataset("a/mute"),
            bare=dataset("a/bare"),
            part={**dataset("a/one"), "parts": [{}, {"dataset": "a/mute"}]},
        )
        written = run(folder)
        assert written["source_rows"] == {"one": 1200, "held": 50, "two": 30, "both": 1207}
        build = Builder(read_catalog([folder]))
        rows = {name: build.fetched("source", name).execution.get("rows") for name in ("one", "held", "two", "mute")}
        assert rows == {"one": 1200, "held": 20, "two": 30, "mute": None}

    def test_noted_rows_are_no_part_of_an_id_and_stay_with_the_pin(self, hub: FakeHub, tmp_path: Path) -> None:
        hub.commit("a/one", {"README.md": card(splits(train=1200))})
        folder = catalog_of(tmp_path, one=dataset("a/one"))
        written = run(folder)
        with_rows = Builder(read_catalog([folder])).fetched("source", "one").id
        (folder / "lock.yaml").write_text(yaml.safe_dump({"sources": written["sources"]}))
        assert Builder(read_catalog([folder])).fetched("source", "one").id == with_rows
        assert run(folder)["source_rows"] == {"one": 1200}, "what was pinned before is noted too"
        hub.commit("a/one", {"README.md": card(splits(train=5000))})
        before = len(hub.requests)
        assert run(folder)["source_rows"] == {"one": 1200}
        assert len(hub.requests) == before, "what is known is not asked again"
        assert run(folder, "--update")["source_rows"] == {"one": 5000}

    def test_a_catalog_that_is_far_off_is_told(
        self, hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        hub.commit("a/one", {"README.md": card(splits(train=1200))})
        entries = {"much": 500_000, "few": 700, "close": 900, "limited": 100}
        more = {name: {"limit": 100} if name == "limited" else {} for name in entries}
        folder = catalog_of(
            tmp_path, **{name: dataset("a/one", rows=rows, **more[name]) for name, rows in entries.items()}
        )
        run(folder)
        told = [record.getMessage() for record in caplog.records if "rows" in record.getMessage()]
        assert told == [
            "sources few: the catalog says 700 rows, the card of its dataset 1,200: correct `rows`",
            "sources much: the catalog says 500,000 rows, the card of its dataset 1,200: correct `rows`",
        ]

    def test_a_card_that_cannot_be_had_leaves_the_rows_unknown(self, hub: FakeHub, tmp_path: Path) -> None:
        hub.commit("a/one", {"README.md": card(splits(train=1200))})
        hub.fault("README.md", 1000, status=403)
        folder = catalog_of(tmp_path, one=dataset("a/one"))
        written = run(folder)
        assert set(written) == {"sources"}
