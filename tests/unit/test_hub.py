"""The hub connector against a hub on loopback: the client is the real one, the faults are real HTTP."""

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
from tests.fake_hub import FakeHub

from openthoughts.base.cli import UserError
from openthoughts.sources import hub as connector
from openthoughts.sources.reading import read_questions

CARD = """---
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: extra
  data_files:
  - split: train
    path: extra/*.jsonl
---
"""


def parquet(rows: dict[str, list[Any]]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(rows).write_parquet(buffer)
    return buffer.getvalue()


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FILES: dict[str, bytes | str] = {
    "README.md": CARD,
    "main/train-00000.parquet": parquet({"q": ["One?", "Two?"], "a": ["1", "2"]}),
    "main/train-00001.parquet": parquet({"q": ["Three?"], "a": ["3"]}),
    "main/test-00000.parquet": parquet({"q": ["Test?"], "a": ["0"]}),
    "extra/more.jsonl": json_lines([{"q": "More?", "a": 4}]),
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    connector._repository_files.cache_clear()
    with FakeHub().running() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


def read(entry: dict[str, Any], revision: str | None) -> pl.DataFrame:
    return pl.concat(read_questions("one", "math", {"connector": "hub", **entry}, revision))


def questions(entry: dict[str, Any], revision: str | None) -> list[str]:
    return read(entry, revision)["question"].to_list()


class TestWhatIsRead:
    def test_configurations_and_splits(self, hub: FakeHub) -> None:
        commit = hub.commit("a/b", FILES)
        entry = {"dataset": "a/b", "column": "q", "reference": "a"}
        table = read(entry, commit)
        assert table.select("source_row", "question", "reference_answer").rows() == [
            ("0", "One?", "1"),
            ("1", "Two?", "2"),
            ("2", "Three?", "3"),
        ]
        assert questions({**entry, "split": "test"}, commit) == ["Test?"]
        assert questions({**entry, "config": "extra"}, commit) == ["More?"]

    def test_files_without_a_card(self, hub: FakeHub) -> None:
        commit = hub.commit(
            "a/b", {"train.jsonl": json_lines([{"q": "Train?"}]), "test.jsonl": json_lines([{"q": "T?"}])}
        )
        assert questions({"dataset": "a/b", "column": "q"}, commit) == ["Train?"]
        assert questions({"dataset": "a/b", "column": "q", "split": "test"}, commit) == ["T?"]

    def test_named_files_of_a_dataset_with_code(self, hub: FakeHub) -> None:
        files = {"b.py": "raise SystemExit('never run')", **FILES}
        commit = hub.commit("a/b", files)
        entry = {"dataset": "a/b", "column": "q"}
        with pytest.raises(UserError, match="name the `files` to read"):
            questions(entry, commit)
        assert questions({**entry, "files": "main/t*"}, commit) == ["Test?", "One?", "Two?", "Three?"]
        by_split = {"train": ["extra/*.jsonl", "main/train-00001.parquet"], "test": "main/test*"}
        assert questions({**entry, "files": by_split}, commit) == ["More?", "Three?"]
        assert questions({**entry, "files": by_split, "split": "test"}, commit) == ["Test?"]

    def test_archives_and_arrow(self, hub: FakeHub) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            for number in range(3):
                file.writestr(f"{number}.json", json.dumps({"q": f"Zip {number}?"}))
        arrow = io.BytesIO()
        table = pa.table({"q": ["Arrow?"], "other": [1]})
        with pa.ipc.new_stream(arrow, table.schema) as stream:
            stream.write_table(table)
        commit = hub.commit("a/b", {"all.zip": archive.getvalue(), "train.arrow": arrow.getvalue()})
        entry = {"dataset": "a/b", "column": "q", "files": ["all.zip", "train.arrow"]}
        assert questions(entry, commit) == ["Zip 0?", "Zip 1?", "Zip 2?", "Arrow?"]

    def test_several_parts_under_one_source(self, hub: FakeHub) -> None:
        first = hub.commit("a/b", FILES)
        second = hub.commit("c/d", {"train.jsonl": json_lines([{"text": "Other?"}])})
        parts = [{"config": "extra"}, {"split": "test"}, {"dataset": "c/d", "column": "text"}]
        table = read({"dataset": "a/b", "column": "q", "parts": parts[:2]}, first)
        assert table["source_row"].to_list() == ["a/b/extra/train:0", "a/b/test:0"]
        entry = {"parts": [{"dataset": "a/b", "column": "q", **parts[0]}, parts[2]]}
        table = read(entry, f"a/b@{first},c/d@{second}")
        assert dict(table.select("source_row", "question").iter_rows()) == {
            "a/b/extra/train:0": "More?",
            "c/d/train:0": "Other?",
        }

    def test_questions_that_stand_in_other_datasets(self, hub: FakeHub) -> None:
        rows = [
            {"input": "-", "dataset": "tasks", "split": "train", "index": "1"},
            {"input": "-", "dataset": "contests", "split": "test", "index": "0"},
            {"input": "-", "dataset": "contests", "split": "test", "index": "1"},
            {"input": "-", "dataset": "tasks", "split": "test", "index": "0"},
        ]
        contests = [
            {"d": "Sort.", "i": "n", "o": "", "e": [{"input": "3", "output": "1"}, {"input": "4", "output": "2"}]},
            {"d": None, "i": "n", "o": "m", "e": None},
        ]
        tasks = {"train": [{"q": "A?"}, {"q": "B?"}], "test": [{"q": "C?"}]}
        pins = {
            "n/ocr": hub.commit("n/ocr", {"train.jsonl": json_lines(rows)}),
            "x/tasks": hub.commit("x/tasks", {f"{split}.jsonl": json_lines(one) for split, one in tasks.items()}),
            "x/contests": hub.commit(
                "x/contests", {"test.parquet": parquet(pl.DataFrame(contests).to_dict(as_series=False))}
            ),
        }
        each = {"each": "e", "heading": "Examples", "text": ["Input\n\n{input}", "Output\n\n{output}"]}
        lookup = {
            "dataset": "dataset",
            "split": "split",
            "index": "index",
            "in": {
                "tasks": {"dataset": "x/tasks", "column": "q"},
                "contests": {"dataset": "x/contests", "text": ["{d}", "Input\n\n{i}", "Output\n\n{o}", each]},
            },
        }
        revision = ",".join(f"{name}@{commit}" for name, commit in pins.items())
        table = read({"dataset": "n/ocr", "lookup": lookup}, revision)
        codeforces = "Sort.\n\nInput\n\nn\n\nExamples\n\nInput\n\n3\n\nOutput\n\n1\n\nInput\n\n4\n\nOutput\n\n2"
        assert dict(table.select("source_row", "question").iter_rows()) == {"0": "B?", "1": codeforces, "3": "C?"}
        with pytest.raises(UserError, match="lookup` says nothing of the dataset 'contests'"):
            read({"dataset": "n/ocr", "lookup": {**lookup, "in": {"tasks": lookup["in"]["tasks"]}}}, revision)
        far = {"train.jsonl": json_lines([{**rows[0], "index": "7"}])}
        revision = revision.replace(pins["n/ocr"], hub.commit("n/ocr", far))
        with pytest.raises(UserError, match=r"row 7 of tasks \[train\] is looked up, which has 2"):
            read({"dataset": "n/ocr", "lookup": lookup}, revision)


class TestPins:
    def test_a_moved_branch_changes_nothing(self, hub: FakeHub) -> None:
        commit = hub.commit("a/b", FILES)
        before = read({"dataset": "a/b", "column": "q"}, commit)
        hub.commit("a/b", {"train.jsonl": json_lines([{"q": "New?"}])})
        assert read({"dataset": "a/b", "column": "q"}, commit).equals(before)

    @pytest.mark.parametrize("revision", [None, "main", "c/d@" + "0" * 40])
    def test_without_a_commit_nothing_is_read(self, hub: FakeHub, revision: str | None) -> None:
        hub.commit("a/b", FILES)
        with pytest.raises(UserError, match="a/b is not pinned to a commit: run `snakemake lock`"):
            read({"dataset": "a/b", "column": "q"}, revision)
        assert hub.requests == []

    def test_every_dataset_of_a_lookup_is_pinned(self) -> None:
        entry = {"dataset": "a/b", "lookup": {"in": {"x": {"dataset": "c/d"}, "y": {"dataset": "c/d"}}}}
        assert connector.entry_datasets(entry) == ["a/b", "c/d"]
        with pytest.raises(UserError, match="c/d is not pinned"):
            connector.pinned_commits(entry, "0" * 40)


class TestFaults:
    ENTRY: dict[str, Any] = {"dataset": "a/b", "column": "q"}  # noqa: RUF012

    def test_a_server_error_passes(self, hub: FakeHub) -> None:
        commit = hub.commit("a/b", FILES)
        hub.fault(r"train-00001", times=2, status=503)
        hub.fault(r"/api/datasets", times=1, status=500)
        assert questions(self.ENTRY, commit) == ["One?", "Two?", "Three?"]

    def test_a_server_error_that_stays(self, hub: FakeHub) -> None:
        commit = hub.commit("a/b", FILES)
        hub.fault(r"train-00001", times=100, status=500)
        with pytest.raises(UserError) as caught:
            questions(self.ENTRY, commit)
        assert str(caught.value).startswith("one: the hub ")
        assert "a/b" in str(caught.value)

    def test_a_cut_connection_resumes_where_it_was_cut(self, hub: FakeHub) -> None:
        content = parquet({"q": [f"Question {number * 7919}?" for number in range(200_000)]})
        commit = hub.commit("a/b", {"train.parquet": content})
        hub.fault(r"train\.parquet", cut_after=len(content) // 2)
        assert len(questions(self.ENTRY, commit)) == 200_000
        ranges = [asked for method, path, asked in hub.requests if method == "GET" and path.endswith("train.parquet")]
        assert ranges[0] is None
        assert ranges[1] is not None and int(ranges[1].removeprefix("bytes=").split("-")[0]) > 0

    def test_a_damaged_file_is_downloaded_again(self, hub: FakeHub) -> None:
        commit = hub.commit("a/b", FILES)
        hub.fault(r"train-00001", flip=True)
        assert questions(self.ENTRY, commit) == ["One?", "Two?", "Three?"]

    @pytest.mark.parametrize("path", ["main/train-00001.parquet", "train.jsonl"])
    def test_a_file_that_stays_damaged(self, hub: FakeHub, path: str) -> None:
        content = FILES.get(path, json_lines([{"q": "One?"}]))
        commit = hub.commit("a/b", {path: content})
        hub.fault(path.rpartition("/")[2], times=10, flip=True)
        with pytest.raises(UserError, match="arrives damaged"):
            questions({**self.ENTRY, "files": path}, commit)

    def test_a_gated_dataset(self, hub: FakeHub) -> None:
        commit = hub.commit("a/b", FILES)
        hub.repositories["a/b"].gated = True
        with pytest.raises(UserError, match="a/b is gated: accept its terms on its page and set HF_TOKEN"):
            questions({**self.ENTRY, "files": "main/*"}, commit)
        with pytest.raises(UserError, match="HF_TOKEN"):
            questions(self.ENTRY, commit)

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (401, r"the hub refuses a/b \(401\): accept its terms and set HF_TOKEN"),
            (403, r"the hub refuses a/b \(403\): accept its terms and set HF_TOKEN"),
            (404, "the hub answers a/b with status 404"),
        ],
    )
    def test_a_refusal_is_not_tried_again(self, hub: FakeHub, status: int, message: str) -> None:
        commit = hub.commit("a/b", FILES)
        hub.fault("train-00001", times=100, status=status)
        with pytest.raises(UserError, match=message):
            questions({**self.ENTRY, "files": "main/train-*"}, commit)
        assert sum("train-00001" in path for _, path, _ in hub.requests) == 1

    def test_a_dataset_that_is_not_there(self, hub: FakeHub) -> None:
        for entry in (self.ENTRY, {**self.ENTRY, "files": "*"}):
            with pytest.raises(UserError, match=r"the hub has no (dataset )?a/b, or it is"):
                questions(entry, "0" * 40)

    def test_a_commit_that_is_gone(self, hub: FakeHub) -> None:
        hub.commit("a/b", FILES)
        for entry in (self.ENTRY, {**self.ENTRY, "files": "*"}):
            with pytest.raises(UserError, match="a/b has lost its pinned commit: run `snakemake lock`"):
                questions(entry, "0" * 40)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"column": "qq"}, r"has no column 'qq' \(did you mean q\?\)"),
            ({"split": "tests"}, r"a/b has no split 'tests' \(did you mean test\?\): it has train, test"),
            ({"config": "extras"}, "fix `config`"),
            ({"files": "main/trian*"}, r"a/b has no file main/trian\*"),
            ({"files": {"train": "main/*"}, "split": "test"}, "`files` has no split 'test'"),
        ],
    )
    def test_mistakes(self, hub: FakeHub, change: dict[str, Any], message: str) -> None:
        commit = hub.commit("a/b", FILES)
        with pytest.raises(UserError, match=message):
            questions({**self.ENTRY, **change}, commit)
