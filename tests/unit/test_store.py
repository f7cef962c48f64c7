"""The completion store: nothing acknowledged is lost, no key is there twice, whoever dies when."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.store.compaction import compact
from openthoughts.store.journal import Journal, read_segment
from openthoughts.store.keys import KeyMaker, model_partition
from openthoughts.store.leases import Presence, is_present
from openthoughts.store.rows import blocks
from openthoughts.store.store import Store

MODEL_ID = model_partition({"identity": "test/model@1"})


def row(number: int, **changes: object) -> dict[str, object]:
    question = question_id(f"question {number}")
    made: dict[str, object] = {
        "key": KeyMaker({"identity": "test/model@1"}, {}, None)([{"role": "user", "content": question}], 0, 1),
        "model_id": MODEL_ID,
        "model": "model",
        "question_id": question,
        "sample": 0,
        "seed": 1,
        "text": f"answer {number}",
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "answered_at": time.time_ns() // 1000,
    }
    return {**made, **changes}


def everything(folder: Path) -> pl.DataFrame:
    with Store(folder) as store:
        store.adopt_orphans()
        rows = store.scan(MODEL_ID)
        assert rows is not None
        keys = rows.select("key", "question_id").collect()
        return store.read(MODEL_ID, keys)


def run_writer(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    header = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from openthoughts.store.store import Store\n"
        "from tests.unit.test_store import row\n"
        "folder, arguments = Path(sys.argv[1]), sys.argv[2:]\n"
    )
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", header + code, str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": f"{root / 'scripts'}:{root}"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_answers_come_back_as_they_were_written(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.append(row(1, text="a\nb \U0001f600 {}", reasoning="why", usd=0.5))
        store.append(row(2, text=None, error="refused", finish_reason=None))
    table = everything(tmp_path).sort("text", nulls_last=True)
    assert table.get_column("text").to_list() == ["a\nb \U0001f600 {}", None]
    assert table.get_column("reasoning").to_list() == ["why", None]
    assert table.get_column("error").to_list() == [None, "refused"]
    assert table.get_column("usd").to_list() == [0.5, None]


def test_the_first_stored_row_of_a_key_counts_and_an_answer_before_a_failure(tmp_path: Path) -> None:
    for changes in ({"text": None, "error": "refused"}, {"text": "first"}, {"text": "second"}):
        with Store(tmp_path) as store:
            store.append(row(1, **changes))
    assert everything(tmp_path).get_column("text").to_list() == ["first"]
    with Store(tmp_path) as store:
        index = store.index(MODEL_ID, "0", "g")
    assert index.select("failed", "size").rows() == [(False, 5)]


def test_a_killed_writer_loses_nothing_that_it_wrote(tmp_path: Path) -> None:
    writer = run_writer(
        "store = Store(folder)\n"
        "for number in range(100): store.append(row(number))\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n",
        tmp_path,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    with Store(tmp_path) as store:
        assert store.adopt_orphans() == 0, "the journal of a living writer is its own"
    writer.kill()
    writer.wait()
    journal = next((tmp_path / "journals").glob("*.jsonl"))
    with journal.open("ab") as file:
        file.write(b'{"key": "torn')
    with Store(tmp_path) as store:
        assert store.adopt_orphans() == 100
        assert store.adopt_orphans() == 0
    assert everything(tmp_path).height == 100
    assert not list((tmp_path / "journals").iterdir())
    assert not list((tmp_path / "writers").iterdir())


def test_a_segment_is_folded_once_though_its_writer_died_before_it_knew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(row(1))
    closed = store.rotate()
    assert closed is not None
    writer, segment, lines = closed
    path = tmp_path / "journals" / f"{writer}.{segment:06d}.jsonl"
    content = path.read_bytes()
    store.commit_lines(writer, segment, lines)
    path.write_bytes(content)  # as if the writer had died between the commit and the removal
    with Store(tmp_path) as other:
        other.commit(writer, segment, read_segment(path))
        assert not path.exists()
        scanned = other.scan(MODEL_ID)
        assert scanned is not None
        assert scanned.collect().height == 1
    store.close()


def test_a_segment_that_could_not_be_folded_comes_before_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = Store._write_once, iter([True])

    def fail_once(store: Store, writer: str, segment: int, rows: pl.DataFrame) -> None:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        write(store, writer, segment, rows)

    monkeypatch.setattr(Store, "_write_once", fail_once)
    with Store(tmp_path) as store:
        store.append(row(1))
        with pytest.raises(OSError, match="Input/output"):
            store.fold()
        store.append(row(2))
    assert everything(tmp_path).get_column("text").sort().to_list() == ["answer 1", "answer 2"]
    assert not list((tmp_path / "journals").iterdir())


def test_a_writer_whose_journal_cannot_be_reached_goes_on_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with Store(tmp_path) as store, store.lease("shard", wait=0):
        store.append(row(1))
        lost = next((tmp_path / "journals").glob("*.jsonl"))

        def stale(descriptor: int, data: bytes) -> int:
            if lost.exists() or b"answer 2" not in data or stale.__dict__.setdefault("told", False):
                return write(descriptor, data)
            stale.__dict__["told"] = True
            raise OSError(116, "Stale file handle")

        lost.unlink()
        monkeypatch.setattr(os, "write", stale)
        store.append(row(2))
        with Store(tmp_path) as other, other.lease("shard", wait=0) as had:
            assert not had, "it still holds its leases"
    assert everything(tmp_path).height == 2
    assert not list((tmp_path / "writers").iterdir())


def test_a_presence_that_was_taken_away_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openthoughts.store.leases.HEARTBEAT_SECONDS", 0.05)
    presence = Presence(tmp_path)
    (tmp_path / f"{presence.name}.json").unlink()
    deadline = time.monotonic() + 120
    while not is_present(tmp_path, presence.name):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    presence.close()
    assert not list(tmp_path.iterdir())


def test_a_journal_that_another_process_folds_just_now_is_waited_for(tmp_path: Path) -> None:
    answers = [row(number) for number in range(3)]
    journal = Journal(tmp_path / "journals", "dead")
    for answer in answers:
        journal.append(answer)
    journal.close()
    folds = threading.Event()

    def fold_slowly() -> None:
        with Store(tmp_path) as store, store.lease("journal-dead", wait=0) as had:
            assert had
            folds.set()
            time.sleep(1.0)
            store.commit("dead", 1, answers)

    other = threading.Thread(target=fold_slowly)
    other.start()
    folds.wait()
    with Store(tmp_path) as store:
        store.adopt_orphans()
        found = store.has(MODEL_ID, [str(answer["key"]) for answer in answers])
    other.join()
    assert len(found) == 3, "they would be asked for again"


def test_a_writer_taken_for_dead_keeps_its_answers(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.append(row(1))
        store.append(row(2))
        next((tmp_path / "journals").glob("*.jsonl")).unlink()
        store.append(row(3))
    assert everything(tmp_path).height == 3


@pytest.mark.slow
def test_sixteen_writers_at_once_two_killed(tmp_path: Path) -> None:
    code = (
        "number = int(arguments[0])\n"
        "with Store(folder) as store:\n"
        "    for batch in range(4):\n"
        "        for answer in range(16): store.append(row(1000 * number + 16 * batch + answer))\n"
        "        if number in (3, 7) and batch == 2: os.kill(os.getpid(), 9)\n"
        "        store.fold()\n"
    )
    writers = [run_writer(code, tmp_path, str(number)) for number in range(16)]
    statuses = [writer.wait() for writer in writers]
    assert [status for status in statuses if status] == [-signal.SIGKILL] * 2
    table = everything(tmp_path)
    expected = {
        str(row(1000 * number + answer)["question_id"])
        for number in range(16)
        for answer in range(48 if number in (3, 7) else 64)
    }
    assert set(table.get_column("question_id")) == expected
    assert table.height == len(expected)


def test_a_shard_has_one_writer_at_a_time(tmp_path: Path) -> None:
    holder = run_writer(
        "with Store(folder).lease('shard', 0) as had:\n    print(had, flush=True)\n    time.sleep(60)\n", tmp_path
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with Store(tmp_path) as store, store.lease("shard", 0) as had:
        assert not had
    with Store(tmp_path) as store, store.lease("other", 0) as had:
        assert had
    holder.kill()
    holder.wait()
    for _ in range(3):
        with Store(tmp_path) as store, store.lease("shard", 0) as had:
            assert had


def test_a_lease_of_another_machine_is_kept_while_its_holder_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Store(tmp_path)
    with here.lease("shard", 0):
        presence = next((tmp_path / "writers").glob("*.json"))
        process = json.loads(presence.read_text())
        presence.write_text(json.dumps({**process, "host": "elsewhere", "pid": 1}))
        with Store(tmp_path) as store, store.lease("shard", 0) as had:
            assert not had
        long_ago = time.time() - 3600
        monkeypatch.setattr(os, "utime", lambda *_: None)
        presence.touch()
        monkeypatch.undo()
        os.utime(presence, (long_ago, long_ago))
        with Store(tmp_path) as store, store.lease("shard", 0) as had:
            assert had
    here.close()


def test_a_shard_reads_only_its_range(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for number in range(200):
            store.append(row(number))
    with Store(tmp_path) as store:
        scanned = store.scan(MODEL_ID, "4", "7fffffff")
        assert scanned is not None
        ids = scanned.select("question_id").collect().get_column("question_id")
        files = store.files()
        assert store.scan("another-model") is None
    wanted = [question_id(f"question {number}") for number in range(200)]
    assert sorted(ids) == sorted(one for one in wanted if one[0] in "4567")
    assert files.get_column("partition.bucket").n_unique() == 16


def test_blocks_bound_the_text_read_at_once() -> None:
    sizes = pl.DataFrame({"size": [10_000, 10_000, 30_000, 5_000, 5_000, 100_000, 1]})
    cut = list(blocks(sizes, 20_000))
    assert pl.concat(cut).equals(sizes)
    assert all(block.get_column("size").slice(1).sum() < 20_000 for block in cut), (
        "only a block's first row may exceed it"
    )


def test_a_store_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="format 99"):
        Store(tmp_path)


def test_a_journal_with_broken_lines_gives_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "writer.000001.jsonl"
    path.write_bytes(b'{"key": "a"}\n' + b"\0" * 40 + b'\n{"key": "b", \n{"key": "c"}\n{"key"')
    assert [one["key"] for one in read_segment(path)] == ["a", "c"]
    assert "cut short" in caplog.text


def test_a_full_disk_is_one_sentence_and_the_journal_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "writer")
    journal.append({"key": "a"})
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]) if len(data) > 5 else _full())
    with pytest.raises(UserError, match="no space left"):
        journal.append({"key": "b"})
    monkeypatch.undo()
    journal.append({"key": "c"})
    journal.close()
    assert [one["key"] for one in read_segment(journal.path)] == ["a", "c"]


def _full() -> int:
    raise OSError(28, "No space left on device")


def test_compaction_leaves_the_rows_and_few_files(tmp_path: Path) -> None:
    for batch in range(4):
        with Store(tmp_path) as store:
            for number in range(40):
                store.append(row(40 * batch + number))
    before = everything(tmp_path).sort("key")
    with Store(tmp_path) as store:
        many = store.files().height
        compact(store, keep_hours=0)
        assert store.files().height <= 32 < many
    assert everything(tmp_path).sort("key").equals(before)
    assert len(list((tmp_path / "completions").rglob("*.parquet"))) <= 32 + 2


def test_compaction_while_others_write(tmp_path: Path) -> None:
    code = (
        "with Store(folder) as store:\n"
        "    for batch in range(30):\n"
        "        for answer in range(8): store.append(row(8 * batch + answer))\n"
        "        store.fold()\n"
        "        print(batch, flush=True)\n"
    )
    writer = run_writer(code, tmp_path)
    assert writer.stdout is not None
    for _ in range(5):
        writer.stdout.readline()
    with Store(tmp_path) as store:
        with pytest.raises(UserError, match="in use"):
            compact(store, keep_hours=0)
        while writer.poll() is None:
            compact(store, keep_hours=24)
    assert writer.wait() == 0
    assert everything(tmp_path).height == 240


def test_a_store_of_the_first_format_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(Path(__file__).parents[1] / "data" / "store-1", folder)
    table = everything(folder).sort("answered_at")
    assert table.get_column("text").to_list() == ["answer 1", None, "answer 3, \u00fc", "answer 4"]
    assert table.get_column("error").to_list() == [None, "refused", None, None]
    assert table.get_column("key").to_list() == [row(number)["key"] for number in (1, 2, 3, 4)]
    with Store(folder) as store:
        store.append(row(5))
    assert everything(folder).height == 5
