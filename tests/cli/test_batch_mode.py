"""Batch mode against a Batch API that expires, fails and repeats itself, and clients that are killed waiting."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.asking_helpers import SAMPLING, write_questions
from tests.fake_openai import API_KEY, MODEL, BatchFault, CreateFault, FakeServer

import sample_answers
import store as store_command
from openthoughts.base.tables import COMPLETIONS, read_table
from openthoughts.inference import batch_api
from openthoughts.inference.batch_api import Batches
from openthoughts.inference.batch_files import Batch
from openthoughts.models.model import Model
from openthoughts.store.budget import Budget
from openthoughts.store.store import Store

ROOT = Path(__file__).parents[2]
TEXTS = [f"What is {number} plus 1?" for number in range(20)]
PRICE = '{"input": 1000, "output": 10000, "batch": 0.5}'


def _line(**said: Any) -> bytes:
    return json.dumps({"custom_id": "ID", **said}).encode()


def _ok(body: Any, status: Any = 200, **said: Any) -> bytes:
    return _line(response={"status_code": status, "body": body}, **said)


CHOICE = {"message": {"content": "4"}, "finish_reason": "stop"}

PASSING = {
    "a text for the body": _ok("Internal error", 500),
    "a text for the body of 200": _ok("Internal error"),
    "a list": _ok(["x"]),
    "no body": _line(response={"status_code": 200}),
    "no status": _line(response={}),
    "a text for the response": _line(response="gone"),
    "a text for the error": _line(response=None, error="expired"),
    "an error beside null": _ok(None, error={"code": "server_error", "message": "x"}),
    "neither": _line(),
    "an error as the body": _ok({"object": "error", "message": "overloaded"}),
    "a text within the error": _ok({"error": "overloaded"}, 503),
    "invalid UTF-8": _ok({"choices": [CHOICE]}).replace(b'"4"', b'"\xff"'),
    "brackets": b"[" * 100_000,
    "deep": b'{"custom_id": "ID", "response": {"status_code": 200, "body": ' + b'{"a":' * 900 + b"1" + b"}" * 902,
    "deep, with an error": b'{"custom_id": "ID", "response": {"status_code": 500, "body": '
    + b"[" * 900
    + b"]" * 900
    + b"}}",
    "no object": b"4",
    "an id that is none": b'{"custom_id": ["ID"]}',
}
"""Lines of a batch's results that are no answers."""

FAILED = {
    "refused (400: prompt is too long)": _ok({"error": {"message": "prompt is too long"}}, "400"),
    "refused (400: Content Exists Risk)": _ok({"object": "error", "message": "Content Exists Risk"}),
    "refused (403: Your input was flagged)": _line(error={"code": 403, "message": "Your input was flagged"}),
    "refused (400: your input is too long)": _ok("your input is too long", 400),
    "the response is not a completion (choices.0.message: Field required)": _ok(
        {"choices": [{}], "usage": {"prompt_tokens": 3}}
    ),
}
"""Lines that are failures, by their reasons."""


@pytest.fixture
def folder(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a hosted model and 20 questions."""
    monkeypatch.setenv("TEST_API_KEY", API_KEY)
    monkeypatch.setattr(batch_api, "LISTED_SECONDS", 0.3)
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
    assert not left(folder)


def left(folder: Path) -> list[Path]:
    """What is kept of batches."""
    return sorted(path for path in (folder / "store" / "batches").rglob("*") if path.is_file())


def leave_batches(folder: Path, server: FakeServer, *further: str, count: int = 1) -> None:
    """Have a client submit batches and kill it; they end when the next one looks."""
    server.batch_seconds = 3600
    process = start(folder, *further)
    wait_until_submitted(folder, count)
    process.kill()
    process.communicate()
    server.batch_seconds = 0
    for batch in server.batches.values():
        batch["due"] = 0.0


def wait_until_submitted(folder: Path, count: int = 1) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        described = (folder / "store").glob("batches/*/*.json")
        if sum('"batch-' in path.read_text() for path in described) == count:
            return
        time.sleep(0.02)
    raise AssertionError("no batch was submitted")


def ask_something_else(folder: Path, text: str) -> None:
    """Another job of the same model, which goes on with whatever batch has no client."""
    write_questions(folder / "others.parquet", [text])
    others = ("--questions", str(folder / "others.parquet"), "--output", str(folder / "other_answers.parquet"))
    assert sample_answers.main(arguments(folder, *others)) == 0


def do_before_the_first(call: str, act: Callable[[], None], owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen just before a function is called for the first time."""
    original = getattr(owner, call)
    pending = [act]

    def wrapped(*values: Any) -> Any:
        if pending:
            pending.pop()()
        return original(*values)

    monkeypatch.setattr(owner, call, wrapped)


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


def test_answers_that_cannot_be_read_at_all_end_the_run_and_fail_no_question(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (odd,) = [line for reason, line in FAILED.items() if "is not a completion" in reason]
    server.batch_faults.append(BatchFault(lines=[odd] * 40))
    assert sample_answers.main(arguments(folder)) == 1
    assert "is not a completion" in capsys.readouterr().err
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)


@pytest.mark.parametrize("spared", [0, 5])
def test_an_account_without_credit_ends_the_run_and_fails_no_question(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str], spared: int
) -> None:
    server.batch_faults.append(BatchFault(status=402, spared=spared))
    assert sample_answers.main(arguments(folder)) == 1
    assert "is used up (made to fail): add credit, then run again." in capsys.readouterr().err
    assert server.served.total() == spared
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert max(server.asked.values()) == 1


def test_no_batch_is_submitted_without_credit(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.create_faults = [CreateFault(made=False, status=402)]
    assert sample_answers.main(arguments(folder)) == 1
    assert "is used up (made to fail): add credit, then run again." in capsys.readouterr().err
    assert not left(folder)


def test_odd_lines_of_a_batch_are_asked_again_or_fail_alone(folder: Path, server: FakeServer) -> None:
    server.batch_faults.append(BatchFault(lines=[*PASSING.values(), *FAILED.values()]))
    assert sample_answers.main(arguments(folder, "--max-failed", "0.5")) == 0
    table = read_table(folder / "answers.parquet", COMPLETIONS)
    errors = table["error"].drop_nulls().to_list()
    assert sorted(errors) == sorted(FAILED)
    assert table["text"].null_count() == len(FAILED)
    assert len(server.batches) == 2, "what passes is asked again"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_running_batch_is_picked_up(folder: Path, server: FakeServer, number: signal.Signals) -> None:
    server.batch_seconds = 3600
    process = start(folder)
    wait_until_submitted(folder)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    if number == signal.SIGTERM:
        assert "the next run picks them up" in errors
        assert "Traceback" not in errors
    for batch in server.batches.values():
        batch["due"] = 0.0
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


def forget_the_id(folder: Path) -> None:
    """As if the client had not lived to write it down."""
    (state,) = (folder / "store").glob("batches/*/*.json")
    state.write_text(state.read_text().replace('"batch-0"', "null"))


@pytest.mark.parametrize("unlisted", [0, 3], ids=["at once", "later"])
def test_a_batch_created_by_a_client_that_did_not_live_to_note_it_is_found(
    folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, unlisted: int
) -> None:
    leave_batches(folder, server)
    forget_the_id(folder)
    monkeypatch.setattr(batch_api, "LISTED_SECONDS", 60.0)
    server.unlisted = unlisted
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


def test_a_batch_that_was_never_created_is_asked_anew(folder: Path, server: FakeServer) -> None:
    leave_batches(folder, server)
    forget_the_id(folder)
    server.batches.clear()
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


LOST = {
    "cut": [CreateFault()],
    "an error, and it is made": [CreateFault(status=500)],
    "a page": [CreateFault(status=200, content_type="text/html")],
    "cut before it is made": [CreateFault(made=False)],
    "busy twice": [CreateFault(made=False, status=429), CreateFault(made=False, status=503)],
}


@pytest.mark.parametrize("faults", LOST.values(), ids=LOST)
def test_a_batch_whose_creation_got_no_answer_is_paid_once(
    folder: Path, server: FakeServer, faults: list[CreateFault]
) -> None:
    server.create_faults = list(faults)
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


def test_a_batch_that_is_listed_late_is_not_created_again(
    folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_api, "LISTED_SECONDS", 60.0)
    server.create_faults = [CreateFault()]
    server.unlisted = 3
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


@pytest.mark.parametrize(
    "faults", [[CreateFault(made=False, status=400)], [CreateFault(made=False)] * 4], ids=["refused", "no answer"]
)
def test_a_batch_that_cannot_be_created_ends_the_run(
    folder: Path, server: FakeServer, faults: list[CreateFault], capsys: pytest.CaptureFixture[str]
) -> None:
    server.create_faults = list(faults)
    assert sample_answers.main(arguments(folder)) == 1
    message = capsys.readouterr().err
    assert "the Batch API at" in message
    assert "Traceback" not in message
    assert not left(folder)
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)


def test_a_signal_while_a_batch_is_created_ends_the_run(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def end_the_client() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(0.2)

    server.create_faults = [CreateFault(first=end_the_client)]
    assert sample_answers.main(arguments(folder)) == 1
    assert "SIGTERM: the batches run on, the next run picks them up" in capsys.readouterr().err
    assert any('"batch-0"' in path.read_text() for path in left(folder)), "what runs can be seen, and cancelled"
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert len(server.batches) == 1


def test_what_another_job_reads_while_a_run_starts_is_not_paid_again(
    folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_something_else(folder, "Is there a table?")
    leave_batches(folder, server)
    do_before_the_first("run", lambda: ask_something_else(folder, "And now?"), Batches, monkeypatch)
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert max(server.asked.values()) == 1
    assert len(server.batches) == 3


def test_a_batch_that_another_job_reads_before_it_is_taken_over_is_let_go(
    folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_batches(folder, server)
    original = batch_api.kept
    pending = ["Who is first?"]

    def outdated(place: Path) -> list[Batch]:
        found = original(place)
        if pending:
            ask_something_else(folder, pending.pop())
        return found

    monkeypatch.setattr(batch_api, "kept", outdated)
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert max(server.asked.values()) == 1


def test_a_batch_that_another_job_reads_while_its_requests_are_looked_up_is_let_go(
    folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_batches(folder, server)
    with Store(folder / "store") as other, contextlib.ExitStack() as lease:

        def let_another_read_it() -> None:
            lease.close()
            ask_something_else(folder, "Who is first?")

        assert lease.enter_context(other.lease(f"batch-{left(folder)[0].stem}", wait=0))
        do_before_the_first("wanted", let_another_read_it, Batch, monkeypatch)
        assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert max(server.asked.values()) == 1


def test_a_batch_that_was_read_but_for_its_description_is_forgotten(folder: Path, server: FakeServer) -> None:
    leave_batches(folder, server)
    description = left(folder)[0].read_text()
    path = left(folder)[0]
    assert sample_answers.main(arguments(folder)) == 0
    path.write_text(description)
    ask_something_else(folder, "Does it go on?")
    check_whole(folder)
    assert max(server.asked.values()) == 1


def test_a_running_batch_whose_requests_are_gone_is_named(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_batches(folder, server)
    server.batches["batch-0"]["due"] = time.monotonic() + 3600
    requests = next(path for path in left(folder) if path.suffix == ".jsonl")
    requests.unlink()
    assert sample_answers.main(arguments(folder)) == 1
    message = capsys.readouterr().err
    assert str(requests) in message
    assert "--cancel" in message
    assert "Traceback" not in message
    assert store_command.main(["batches", "--store", str(folder / "store"), "--cancel"]) == 0
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)


@pytest.mark.parametrize("is_noted", [True, False], ids=["noted", "not noted"])
def test_a_batch_is_cancelled_by_command(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str], is_noted: bool
) -> None:
    leave_batches(folder, server)
    server.batches["batch-0"]["due"] = time.monotonic() + 3600
    if not is_noted:
        forget_the_id(folder)
    assert store_command.main(["batches", "--store", str(folder / "store")]) == 0
    assert ("batch-0" if is_noted else "not submitted") in capsys.readouterr().out
    assert store_command.main(["batches", "--store", str(folder / "store"), "--cancel"]) == 0
    assert server.batches["batch-0"]["status"] == "cancelled"
    assert sample_answers.main(arguments(folder)) == 0
    check_whole(folder)
    assert max(server.asked.values()) == 1


def test_what_running_batches_can_cost_is_counted_while_they_are_taken_over(
    folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    further = ("--price", PRICE, "--budget-usd", "100", "--batch-requests", "20")
    leave_batches(folder, server, *further, count=2)
    seen = []
    with Store(folder / "store") as other, Budget(other, 100) as budget:
        reserved = budget.spent()
        write = Batch.write

        def watched(batch: Batch, place: Path) -> None:
            write(batch, place)
            seen.append(budget.spent())

        monkeypatch.setattr(Batch, "write", watched)
        assert sample_answers.main(arguments(folder, *further)) == 0
    assert reserved > 1
    assert len(seen) == 2
    assert min(seen) >= reserved - 1e-6, "money that a batch can cost must not be free for others"
    check_whole(folder)


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
