"""Batch mode against a Batch API that expires, fails and repeats itself, and clients that are killed waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.asking_helpers import SAMPLING, write_questions
from tests.fake_openai import API_KEY, MODEL, BatchFault, FakeServer

import sample_answers
import store as store_command
from lib.models import Model
from lib.store import Store
from lib.tables import COMPLETIONS, read_table

ROOT = Path(__file__).parents[2]
TEXTS = [f"What is {number} plus 1?" for number in range(20)]
PRICE = '{"input": 1000, "output": 10000, "batch": 0.5}'


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a hosted model and 20 questions."""
    monkeypatch.setenv("TEST_API_KEY", API_KEY)
    Model(
        "hosted",
        "test:hosted-2025-01-01",
        provider="api",
        base_url=server.base_url,
        api_key_variable="TEST_API_KEY",
        api_model=MODEL,
    ).write(tmp_path / "model.json")
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    return tmp_path


def arguments(folder: Path, *further: str) -> list[str]:
    return [
        *("--questions", str(folder / "drawn.parquet"), "--samples", "2", "--shard", "0", "--shards", "1"),
        *("--output", str(folder / "answers.parquet"), "--model", str(folder / "model.json")),
        *("--store", str(folder / "store"), "--sampling", SAMPLING, "--seed", "1"),
        *("--mode", "batch", "--batch-poll", "0.05", *further),
    ]


def start(folder: Path, *further: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "scripts" / "sample_answers.py"), *arguments(folder, *further)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def check_whole(folder: Path) -> None:
    table = read_table(folder / "answers.parquet", COMPLETIONS)
    assert table.height == 40
    assert table.get_column("text").null_count() == 0
    assert not [path for path in (folder / "store" / "batches").rglob("*") if path.is_file()]


def test_a_batch_answers_a_shard(folder: Path, server: FakeServer) -> None:
    assert sample_answers.main(arguments(folder, "--batch-requests", "15")) == 0
    check_whole(folder)
    assert len(server.batches) == 3
    assert max(server.asked.values()) == 1
    assert all("seed" in body and body["max_tokens"] == 100 for body in server.bodies)
    live = ["--mode", "live"]
    assert sample_answers.main(arguments(folder, *live)) == 0
    assert server.asked.total() == 40, "both modes share the store"


@pytest.mark.parametrize("fault", [BatchFault(answered=7), BatchFault(broken=5)], ids=["expired", "partly failed"])
def test_what_a_batch_leaves_out_is_asked_again(folder: Path, server: FakeServer, fault: BatchFault) -> None:
    server.batch_faults.append(fault)
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 2
    assert max(server.asked.values()) == 1


def test_a_batch_that_fails_ends_the_run(folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.batch_faults.append(BatchFault(fail="the file is not what it should be"))
    assert sample_answers.main(arguments(folder)) == 1
    message = capsys.readouterr().err
    assert "the file is not what it should be" in message
    assert "Traceback" not in message
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)


def test_settings_that_are_refused_end_the_run_and_fail_no_question(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.batch_faults.append(BatchFault(status=400))
    assert sample_answers.main(arguments(folder)) == 1
    assert "refuses every request" in capsys.readouterr().err
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_running_batch_is_picked_up(folder: Path, server: FakeServer, number: signal.Signals) -> None:
    server.batch_seconds = 3600
    process = start(folder)
    deadline = time.monotonic() + 60
    while not _submitted(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    if number == signal.SIGTERM:
        assert "the next run picks them up" in errors
        assert "Traceback" not in errors
    for batch in server.batches.values():
        batch["due"] = 0.0
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


def _submitted(folder: Path) -> bool:
    return any('"batch-' in path.read_text() for path in (folder / "store").glob("batches/*/*.json"))


def test_a_batch_created_by_a_client_that_did_not_live_to_note_it_is_found(folder: Path, server: FakeServer) -> None:
    server.batch_seconds = 3600
    process = start(folder)
    deadline = time.monotonic() + 60
    while not _submitted(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    state = next((folder / "store").glob("batches/*/*.json"))
    state.write_text(state.read_text().replace('"batch-0"', "null"))
    server.batches["batch-0"]["due"] = 0.0
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


def test_a_batch_is_cancelled_by_command(folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.batch_seconds = 3600
    process = start(folder)
    deadline = time.monotonic() + 60
    while not _submitted(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert store_command.main(["batches", "--store", str(folder / "store")]) == 0
    assert "batch-0" in capsys.readouterr().out
    assert store_command.main(["batches", "--store", str(folder / "store"), "--cancel"]) == 0
    assert server.batches["batch-0"]["status"] == "cancelled"
    server.batch_seconds = 0
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert max(server.asked.values()) == 1


def test_batches_cost_half_and_keep_to_the_budget(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    further = ("--price", PRICE, "--budget-usd", "2.5")
    assert sample_answers.main(arguments(folder, *further)) == 1
    assert "budget of 2.50 USD" in capsys.readouterr().err
    with Store(folder / "store") as store:
        assert 2.5 - 0.7 < store.dollars() <= 2.5, "one answer may cost up to 0.64 dollars"
    assert sample_answers.main(arguments(folder, "--price", PRICE, "--budget-usd", "100")) == 0
    check_whole(folder)
    table = read_table(folder / "answers.parquet", COMPLETIONS)
    whole = (table["prompt_tokens"].sum() * 1000 + table["completion_tokens"].sum() * 10000) / 1e6
    with Store(folder / "store") as store:
        assert store.dollars() == pytest.approx(whole / 2)


def test_a_wrong_key_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_API_KEY", "wrong")
    assert sample_answers.main(arguments(folder)) == 1
    message = capsys.readouterr().err
    assert "Batch API" in message
    assert "Traceback" not in message
