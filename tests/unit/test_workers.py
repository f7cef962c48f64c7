"""Work in processes with limits of their own: slow is not wrong, and one bad task costs no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from openthoughts.base import workers
from openthoughts.base.workers import Workers, usable_processors


def work(task: object) -> object:
    """What the workers of these tests do."""
    match task:
        case "spin":
            while True:
                pass
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise ValueError("no such thing")
        case "hoard":
            return len(bytearray(16 << 30))
        case "sleep":
            time.sleep(0.6)
            return "slept"
        case _:
            return task
    return None


def test_outcomes_come_in_the_order_of_the_tasks() -> None:
    with Workers(work, 2) as pool:
        assert [outcome.value for outcome in pool.map(range(200))] == list(range(200))


def test_a_task_over_its_processor_time_is_given_up_and_the_others_are_done() -> None:
    with Workers(work, 1, cpu_seconds=0.5) as pool:
        outcomes = list(pool.map(["spin", 1, 2]))
    assert outcomes[0].value is None
    assert "processor time" in (outcomes[0].error or "")
    assert [outcome.value for outcome in outcomes[1:]] == [1, 2]


def test_waiting_is_not_counted() -> None:
    with Workers(work, 1, cpu_seconds=0.3) as pool:
        assert [outcome.value for outcome in pool.map(["sleep", "sleep"])] == ["slept", "slept"]


def test_a_killed_worker_a_raised_error_and_too_much_memory_cost_one_task_each() -> None:
    with Workers(work, 2) as pool:
        outcomes = list(pool.map(["die", "raise", "hoard", 3]))
    assert [outcome.error for outcome in outcomes] == [
        "the worker died",
        "ValueError: no such thing",
        "ran out of memory",
        None,
    ]
    assert outcomes[3].value == 3


def test_workers_killed_at_any_moment_cost_at_most_the_task_that_they_were_at() -> None:
    def kill_some() -> None:
        grader = psutil.Process()
        for _ in range(5):
            ended.wait(0.2)
            for process in grader.children(recursive=True):
                with suppress(psutil.Error):
                    if process.ppid() != grader.pid:  # a worker, not the server that forks them
                        process.kill()

    ended = threading.Event()
    killer = threading.Thread(target=kill_some)
    with Workers(work, 2) as pool:
        next(pool.map(["ready"]))
        killer.start()
        try:
            outcomes = list(pool.map(range(4000)))
        finally:
            ended.set()
            killer.join()
    assert len(outcomes) == 4000
    lost = [outcome.error for outcome in outcomes if outcome.error is not None]
    assert lost == ["the worker died"] * len(lost)
    assert len(lost) <= 10
    assert all(outcome.value == task for task, outcome in enumerate(outcomes) if outcome.error is None)


KILL = "os.kill(os.getpid(), signal.SIGKILL)"
STARTING = """
import multiprocessing, os, pathlib, signal

if multiprocessing.parent_process() is None:
    raise ImportError("only workers import this")
died = pathlib.Path(__file__).with_name("died")
if {again} or not died.exists():
    died.touch()
    {end}
"""
"""A module that ends the worker which imports it: the first one, or each."""


@pytest.mark.parametrize(("again", "end"), [(False, KILL), (True, KILL), (True, "os._exit(1)")])
def test_workers_that_die_while_they_start_cost_no_task(
    again: bool, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"starting_{again}_{len(end)}"
    (tmp_path / f"{name}.py").write_text(STARTING.format(again=again, end=end))
    monkeypatch.syspath_prepend(tmp_path)
    with Workers(work, 2, preload=[name]) as pool:
        if again:
            monkeypatch.setattr(workers, "_KILLED_STARTS", 1)
            with pytest.raises(RuntimeError, match="while they start" if end == KILL else "while it started"):
                list(pool.map(range(10)))
        else:
            assert [outcome.value for outcome in pool.map(range(10))] == list(range(10))


def test_the_temporary_folder_may_have_a_long_name(tmp_path: Path) -> None:
    folder = tmp_path / ("scratch" * 15)
    folder.mkdir()
    scripts = str(Path(workers.__file__).resolve().parents[2])
    program = "import math; from openthoughts.base.workers import Workers\nif __name__ == '__main__':\n"
    program += "    with Workers(math.sqrt, 1) as pool:\n        print([each.value for each in pool.map([4, 9])])\n"
    (tmp_path / "roots.py").write_text(program)
    variables = {**os.environ, "PYTHONPATH": scripts, "TMPDIR": str(folder)}
    command = [sys.executable, str(tmp_path / "roots.py")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=100)
    assert done.stdout == "[2.0, 3.0]\n", done.stderr
    assert list(folder.iterdir()) == []


def test_workers_end_with_a_killed_grader(tmp_path: Path) -> None:
    program = """
import os, sys
from openthoughts.base.workers import Workers

def spin(path):
    open(path, "w").write(str(os.getpid()))
    while True:
        pass

if __name__ == "__main__":
    with Workers(spin, 2, cpu_seconds=1000) as workers:
        list(workers.map(sys.argv[1:]))
"""
    (tmp_path / "grader.py").write_text(program)
    told = [tmp_path / "one", tmp_path / "two"]
    scripts = str(Path(workers.__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": scripts}
    grader = subprocess.Popen([sys.executable, str(tmp_path / "grader.py"), *map(str, told)], env=environment)
    wait_until(lambda: all(path.exists() and path.read_text() != "" for path in told))
    spinning = [psutil.Process(int(path.read_text())) for path in told]
    grader.kill()
    grader.wait()
    _, left = psutil.wait_procs(spinning, timeout=120)
    for worker in left:
        worker.kill()
    assert not left


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_task_starts_no_process() -> None:
    with Workers(work, 2) as pool:
        assert list(pool.map([])) == []
        assert pool._workers == []


@pytest.mark.parametrize(("asked", "found"), [("1", 1), ("100000", None), ("", None), ("many", None), ("0", None)])
def test_no_more_processors_than_the_rule_has_threads(
    asked: str, found: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert usable_processors() == (found or len(os.sched_getaffinity(0)))
