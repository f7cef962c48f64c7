"""Child processes: nothing they start outlives them or this process, whatever kills either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from openthoughts.base.processes import Process

TREE = """
import pathlib, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
sleeper = "import pathlib, os, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", sleeper, str(folder / "child")])
subprocess.Popen([sys.executable, "-c", sleeper, str(folder / "own-session")], start_new_session=True)
orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleeper!r}, sys.argv[1]])"
subprocess.run([sys.executable, "-c", orphan, str(folder / "orphan")])
(folder / "root").write_text(str(__import__("os").getpid()))
exec(sys.argv[2])
"""
"""A command with a child, one in a session of its own, and one whose parent has ended; it then does as told."""

NAMES = ("root", "child", "own-session", "orphan")


def tree(folder: Path, then: str = "time.sleep(600)") -> list[str]:
    """The command of a tree of processes that write their ids to a folder."""
    return [sys.executable, "-c", TREE, str(folder), then]


def members(folder: Path) -> list[psutil.Process]:
    """The processes of a tree, once all of them run."""
    until(lambda: all((folder / name).is_file() and (folder / name).read_text() for name in NAMES), "the tree to start")
    return [psutil.Process(int((folder / name).read_text())) for name in NAMES]


def until(condition: object, what: str, seconds: float = 120.0) -> None:
    """Wait for a condition."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    return [it for it in processes if it.is_running() and it.status() != psutil.STATUS_ZOMBIE]


def assert_all_end(processes: list[psutil.Process]) -> None:
    until(lambda: not living(processes), f"{processes} to end")


def test_stop_ends_the_whole_tree(tmp_path: Path) -> None:
    process = Process(tree(tmp_path), grace=1.0)
    started = members(tmp_path)
    process.stop()
    assert not living(started)


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    process = Process(tree(tmp_path, deaf), grace=0.5)
    started = members(tmp_path)
    time.sleep(0.2)
    assert process.stop() == 128 + signal.SIGKILL
    assert not living(started)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a failing test leaves is ended."""
    yield
    for name in NAMES:
        if (tmp_path / name).is_file() and psutil.pid_exists(pid := int((tmp_path / name).read_text() or 0)):
            psutil.Process(pid).kill()


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(0)", 0), ("sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_commands_own_end_ends_what_it_started(tmp_path: Path, end: str, status: int) -> None:
    wait = "while not all((folder / name).is_file() for name in ('child', 'own-session', 'orphan')): time.sleep(0.02)"
    process = Process(tree(tmp_path, f"exec({wait!r}); time.sleep(0.3); {end}"))
    started = members(tmp_path)
    assert process.wait(120) == status
    assert not living(started)


@pytest.mark.parametrize("which", ["outer", "inner"])
def test_a_killed_supervisor_takes_the_tree_with_it(tmp_path: Path, which: str) -> None:
    process = Process(tree(tmp_path), grace=1.0)
    started = members(tmp_path)
    inner = psutil.Process(process.pid).children()
    assert len(inner) == 1
    os.kill(process.pid if which == "outer" else inner[0].pid, signal.SIGKILL)
    assert_all_end([*started, *inner])
    assert process.wait(120) == 137


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_parent_takes_the_tree_with_it(tmp_path: Path, number: int) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = f"""
        import pathlib, sys, time
        sys.path[:0] = {sys.path!r}
        from openthoughts.base.processes import Process
        Process({tree(tmp_path)!r}, grace=1.0, remove=[pathlib.Path({str(temporary)!r})])
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    started = members(tmp_path)
    parent.send_signal(number)
    parent.wait()
    assert_all_end(started)
    until(lambda: not temporary.exists(), "the temporary folder to go")


def test_a_parent_and_a_supervisor_killed_at_once_leave_nothing(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        from openthoughts.base.processes import Process
        print(Process({tree(tmp_path)!r}).pid, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    supervisor = int(parent.stdout.readline())
    started = members(tmp_path)
    os.kill(supervisor, signal.SIGKILL)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert_all_end(started)


def test_a_supervisor_that_is_held_up_at_its_start_still_takes_the_tree_with_it(tmp_path: Path) -> None:
    code = f"""
        import subprocess, sys, time
        sys.path[:0] = {sys.path!r}
        from openthoughts.base import supervisor
        start = subprocess.Popen
        def start_and_dawdle(*arguments, **options):
            process = start(*arguments, **options)
            time.sleep(2)  # the command's child loses its parent in this time
            return process
        subprocess.Popen = start_and_dawdle
        sys.exit(supervisor.main())
    """
    supervise = ["--parent", str(os.getpid()), "--grace", "1", "--", *tree(tmp_path)]
    outer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *supervise])
    started = members(tmp_path)
    time.sleep(3)
    outer.kill()
    outer.wait()
    assert_all_end(started)


def test_a_command_that_does_not_exist_has_the_shells_status() -> None:
    assert Process(["/no/such/program"], output=subprocess.DEVNULL).wait(120) == 127
