"""Run a command such that nothing it starts outlives it, or the process that asked for it, whatever kills either.

A program of its own (``supervisor.py --parent PID [options] -- COMMAND``), made of the standard library alone. It is
the command's parent and adopts every process that loses its own (a subreaper), so the whole tree stays in sight. The
tree is taken down when the command ends, when this program is told to stop, or when the parent is gone: first a
SIGTERM to the command, after a grace period a SIGKILL to all. It runs as two processes, each watching the other, so
that killing one of them leaves nothing behind either. Ends with the command's exit status (128 + N after signal N).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
STOPPING = (signal.SIGTERM, signal.SIGHUP)
PASSED_ON = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
POLL_SECONDS = 0.25
OUTER_GRACE_SECONDS = 5.0
"""What the outer process gives the inner one beyond the command's own grace period."""
SAME_INTERRUPT_SECONDS = 1.0
"""A terminal's interrupt reaches parent and supervisor; within this time it is the same one."""

TRACKER = b"multiprocessing.resource_tracker"
"""Python's helper that removes shared memory and semaphores of dead processes, and then ends by itself."""


def main() -> int:
    """Supervise the command of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parent", type=int, required=True, help="process whose end ends the command")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--session", action="store_true", help="run in a session of its own, out of a terminal's reach")
    parser.add_argument(
        "--remove", type=Path, action="append", default=[], help="folder to remove if the parent is gone"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    handled = {*STOPPING, *PASSED_ON, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    if options.session:
        os.setsid()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    outer = os.getpid()
    adopt_orphans()
    inner = os.fork()
    if inner:
        status = supervise(inner, options.parent, options.grace + OUTER_GRACE_SECONDS, handled)
        remove_openmp_files()
        if os.getppid() != options.parent:
            for folder in options.remove:
                shutil.rmtree(folder, ignore_errors=True)
        return status
    adopt_orphans()
    try:
        child = subprocess.Popen(command, preexec_fn=prepare_child)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    return supervise(child.pid, outer, options.grace, handled)


def supervise(child: int, parent: int, grace: float, handled: set[signal.Signals]) -> int:
    """Watch a child until its end, end everything that it left, and return its exit status."""
    status = watch(child, parent, grace, handled)
    end_tree()
    return 128 + signal.SIGKILL if status is None else status


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, from before there are any."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> None:
    """Linux's ``prctl`` with one argument."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def prepare_child() -> None:
    """In the command's process: die with the supervisor, and take signals as usual."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def watch(child: int, parent: int, grace: float, handled: set[signal.Signals]) -> int | None:
    """Wait for the command's end; its exit status, or None where it had to be killed.

    A signal that someone sends is passed on to the command; a terminal's interrupt has reached it already. Only those
    that ask for the end start the grace period.
    """
    deadline = None
    interrupted = -SAME_INTERRUPT_SECONDS
    while True:
        status = reap(child)
        if status is not None:
            return status
        if deadline is not None and time.monotonic() > deadline:
            return None
        if deadline is None and os.getppid() != parent:
            deadline = time.monotonic() + grace
            send(child, signal.SIGTERM)
        got = signal.sigtimedwait(handled, POLL_SECONDS)
        if got is None or got.si_signo == signal.SIGCHLD:
            continue
        if got.si_code > 0:
            interrupted = time.monotonic()
        elif got.si_signo != signal.SIGINT or time.monotonic() > interrupted + SAME_INTERRUPT_SECONDS:
            send(child, got.si_signo)
        if got.si_signo in STOPPING and deadline is None:
            deadline = time.monotonic() + grace


def reap(child: int) -> int | None:
    """Collect every ended process of the tree; the command's exit status once it is among them."""
    status = None
    while True:
        try:
            pid, waited = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            code = os.waitstatus_to_exitcode(waited)
            status = code if code >= 0 else 128 - code


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def living_children() -> dict[int, list[int]]:
    """The living processes of this machine by their parent."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.name))
    return children


def descendants(root: int) -> list[int]:
    """The living descendants of a process."""
    found, queue = [], [root]
    children = living_children()
    while queue:
        new = children.get(queue.pop(), [])
        found += new
        queue += new
    return found


def is_tracker(pid: int) -> bool:
    """Whether a process is Python's helper that cleans shared memory up."""
    try:
        return TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def end_tree() -> None:
    """Kill every descendant; helpers that clean up get two seconds to do so."""
    patience = time.monotonic() + 2.0
    while living := descendants(os.getpid()):
        for pid in living:
            if time.monotonic() > patience or not is_tracker(pid):
                send(pid, signal.SIGKILL)
        time.sleep(0.02)
        reap(0)


def remove_openmp_files() -> None:
    """Remove the shared-memory files by which killed programs had registered Intel's OpenMP library."""
    for path in Path("/dev/shm").glob("__KMP_REGISTERED_LIB_*"):
        pid = path.name.split("_")[-2]
        with contextlib.suppress(OSError):
            if not Path(f"/proc/{pid}").exists() and path.stat().st_uid == os.getuid():
                path.unlink()


if __name__ == "__main__":
    sys.exit(main())
