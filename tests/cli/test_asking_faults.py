"""Processes that die while they ask, and those that come after them."""

from __future__ import annotations

import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.asking_helpers import asking_arguments, servers, write_model, write_questions
from tests.fake_openai import FakeServer, Fault, request_name

from openthoughts.base.hashing import question_id
from openthoughts.base.tables import COMPLETIONS, read_table
from openthoughts.store.journal import read_segment

ROOT = Path(__file__).parents[2]
TEXTS = [f"What is {number} times {number}?" for number in range(1000)]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(latency=0.02) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_model(tmp_path)
    monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(path, server))
    return path


def start_command(
    folder: Path, model: Path, *further: str, output: str = "answers.parquet", questions: str = "drawn"
) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "scripts" / "sample_answers.py")),
        *("--questions", str(folder / f"{questions}.parquet"), "--samples", "2", "--shard", "0", "--shards", "1"),
        *("--output", str(folder / output)),
        *asking_arguments(folder, model, *further),
    ]


def start(
    folder: Path, model: Path, *further: str, output: str = "answers.parquet", questions: str = "drawn"
) -> subprocess.Popen[str]:
    command = start_command(folder, model, *further, output=output, questions=questions)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


def wait_for(server: FakeServer, served: int) -> None:
    deadline = time.monotonic() + 300
    while server.served.total() < served and time.monotonic() < deadline:
        time.sleep(0.002)


def in_journals(folder: Path) -> set[str]:
    """What the journals hold, by the names that the server counts by."""
    texts = {question_id(text): text for text in TEXTS}
    rows = [row for path in (folder / "store" / "journals").glob("*.jsonl") for row in read_segment(path)]
    return {
        request_name(
            {
                "messages": [{"role": "user", "content": texts[row["question_id"]]}],
                "seed": row["seed"],
                "max_tokens": 100,
            }
        )
        for row in rows
    }


def check_whole(folder: Path, answers: int) -> pl.DataFrame:
    table = read_table(folder / "answers.parquet", COMPLETIONS)
    assert table.height == answers
    assert table.select("question_id", "sample").is_unique().all()
    assert table.get_column("text").null_count() == 0
    return table


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_moments_nothing_journaled_is_asked_again(
    tmp_path: Path, model: Path, server: FakeServer
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    chance = random.Random(5)
    acknowledged: Counter[str] = Counter()
    for moment in sorted(chance.sample(range(20, 1900), 20)):
        process = start(tmp_path, model)
        wait_for(server, moment)
        time.sleep(chance.random() * 0.05)
        process.kill()
        finish(process)
        acknowledged.update({name: server.asked[name] for name in in_journals(tmp_path) - acknowledged.keys()})
    status, errors = finish(start(tmp_path, model))
    assert status == 0, errors
    check_whole(tmp_path, 2000)
    assert len(acknowledged) > 1000
    assert {name: server.asked[name] for name in acknowledged} == acknowledged
    assert server.asked.total() <= 2000 + 20 * 8, "only what was in flight at a kill is asked again"


def test_killed_twice_and_finished(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:150])
    for moment in (60, 180):
        process = start(tmp_path, model)
        wait_for(server, moment)
        process.kill()
        finish(process)
    assert in_journals(tmp_path)
    status, errors = finish(start(tmp_path, model))
    assert status == 0, errors
    check_whole(tmp_path, 300)
    assert server.asked.total() <= 300 + 2 * 8


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_time_to_flush(tmp_path: Path, model: Path, server: FakeServer, number: signal.Signals) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:200])
    server.latency = 0.05
    process = start(tmp_path, model)
    wait_for(server, 40)
    process.send_signal(number)
    status, errors = finish(process)
    assert status not in (0, -number)
    assert "run again for the rest" in errors
    assert "Traceback" not in errors
    assert not in_journals(tmp_path), "everything is in the table"
    asked = server.asked.total()
    assert asked == server.served.total() < 400, "what was in flight was let finish"
    status, errors = finish(start(tmp_path, model))
    assert status == 0, errors
    check_whole(tmp_path, 400)
    assert server.asked.total() == 400


def test_a_second_writer_of_a_shard_waits_and_asks_nothing_twice(
    tmp_path: Path, model: Path, server: FakeServer
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:100])
    first = start(tmp_path, model)
    second = start(tmp_path, model, output="again.parquet")
    results = [finish(process) for process in (first, second)]
    assert [status for status, _ in results] == [0, 0], results
    assert server.asked.total() == 200
    assert (tmp_path / "answers.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()


@pytest.mark.slow
def test_a_second_writer_leaves_when_told_not_to_wait(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:200])
    server.latency = 2.0  # long enough for the second to start while the first asks
    first = start(tmp_path, model)
    wait_for(server, 1)
    status, errors = finish(start(tmp_path, model, "--lease-wait", "0"))
    assert status == 1
    assert "another job is asking" in errors
    server.latency = 0
    assert finish(first)[0] == 0


@pytest.mark.slow
def test_a_server_that_dies_ends_the_job_and_loses_nothing(
    tmp_path: Path, model: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:200])
    process = start(tmp_path, model)
    wait_for(server, 50)
    server.stop()
    status, errors = finish(process)
    assert status == 1
    assert "what was answered is kept" in errors
    assert "Traceback" not in errors
    with FakeServer() as other:
        monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(model, other))
        status, errors = finish(start(tmp_path, model))
        assert status == 0, errors
        check_whole(tmp_path, 400)
        assert other.asked.total() <= 400 - (server.served.total() - 8)
        kept = [name for name in server.served if name in other.asked]
        assert len(kept) <= 8


@pytest.mark.slow
def test_jobs_of_one_account_share_its_limit(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:120])
    write_questions(tmp_path / "others.parquet", TEXTS[120:240])
    limit = ("--requests-per-minute", "1200", "--concurrency", "32")
    jobs = [start(tmp_path, model, *limit, output=f"{name}.parquet", questions=name) for name in ("drawn", "others")]
    assert [finish(job)[0] for job in jobs] == [0, 0]
    busiest = max(sum(moment <= other < moment + 5 for other in server.times) for moment in server.times)
    assert busiest <= 20 * 5 + 4 * 40, "20 a second for both; bursts, and two seconds until they know of each other"
    assert server.times[-1] - server.times[0] >= 480 / 20 - 8


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_no_loss(tmp_path: Path, model: Path, server: FakeServer) -> None:
    server.latency = 0.0
    server.answer = lambda body: "".join(f"{random.random()}" for _ in range(200))
    write_questions(tmp_path / "drawn.parquet", TEXTS[:400])
    command = shlex.join(start_command(tmp_path, model))
    store = tmp_path / "store"
    store.mkdir()
    script = (
        f"mount -t tmpfs -o size=1m tmpfs {store}\n{command}; echo first $?\n"
        f"mount -o remount,size=64m {store}\n{command}; echo second $?\n"
    )
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script], capture_output=True, text=True
    )
    assert ran.stdout.split() == ["first", "1", "second", "0"], ran.stderr
    assert "no space left" in ran.stderr
    assert "Traceback" not in ran.stderr
    check_whole(tmp_path, 800)
    assert server.asked.total() <= 800 + 2 * 8, "what was in flight, and nothing else, is asked again"


@pytest.mark.slow
def test_servers_and_clients_that_die_in_turn(
    tmp_path: Path, model: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:300])
    asked: Counter[str] = Counter()
    acknowledged: set[str] = set()
    chance = random.Random(6)
    for turn in range(6):
        with FakeServer(latency=0.01) as another:
            monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(model, another))
            process = start(tmp_path, model)
            if turn < 5:
                wait_for(another, chance.randrange(20, 80))
                if turn % 2:
                    process.kill()
                another.stop()
            status, errors = finish(process)
        assert not acknowledged & set(another.asked), "what was in a journal is not asked again"
        acknowledged |= in_journals(tmp_path)
        asked += another.asked
        assert (status == 0) == (turn == 5), errors
    check_whole(tmp_path, 600)
    assert asked.total() <= 600 + 5 * 8


@pytest.mark.slow
def test_faults_of_every_kind_leave_a_whole_table(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:150])
    server.latency = 0.005
    server.faults += [
        Fault(status=503, probability=0.05),
        Fault(status=429, headers={"retry-after": "0.1"}, probability=0.03),
        Fault(cut=True, probability=0.03),
        Fault(malformed=True, probability=0.03),
        Fault(delay=0.5, probability=0.02),
    ]
    status, errors = finish(start(tmp_path, model, "--concurrency", "32"))
    assert status == 0, errors
    check_whole(tmp_path, 300)
    assert max(server.served.values()) == 1
