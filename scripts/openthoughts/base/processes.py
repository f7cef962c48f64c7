"""Child processes that never outlive the one who started them, with everything they start in turn.

Each runs under ``supervisor.py``, so that it is taken down also after a SIGKILL of the parent: vLLM's engine and
worker processes, and torchrun's, otherwise stay alive and hold their memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

from openthoughts.base.cli import UserError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
CHECK_SECONDS = 0.5
StopReason = Callable[[], str | None]
"""Why a program must not go on (one sentence), None while it may."""

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Process:
    """A supervised child process."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        output: IO[bytes] | int | None = None,
        cwd: Path | None = None,
        session: bool = True,
        grace: float = 5.0,
        remove: Sequence[Path] = (),
    ) -> None:
        """Start ``command`` with the environment ``variables`` (default: this process's).

        ``output`` takes standard output and error (default: this process's own). ``session`` puts it out of a
        terminal's reach. ``grace`` is the time in seconds between SIGTERM and SIGKILL when it is stopped; ``remove``
        are folders that are removed where this process is gone before it can do so itself.
        """
        self.grace = grace
        supervise = [sys.executable, "-I", str(SUPERVISOR), "--parent", str(os.getpid()), "--grace", str(grace)]
        supervise += ["--session"] if session else []
        supervise += [part for folder in remove for part in ("--remove", str(folder))]
        self._process = subprocess.Popen(
            [*supervise, "--", *command],
            env=None if variables is None else dict(variables),
            stdin=subprocess.DEVNULL if session else None,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            cwd=cwd,
        )

    @property
    def pid(self) -> int:
        """The supervisor's process id, which is also the session's where it has one of its own."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status (128 + N after signal N), or None while it runs."""
        status = self._process.poll()
        return status if status is None or status >= 0 else 128 - status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status. Raises ``subprocess.TimeoutExpired``."""
        status = self._process.wait(timeout)
        return status if status >= 0 else 128 - status

    def signal(self, number: int) -> None:
        """Send a signal to the command (through its supervisor)."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """End it and everything it started, and return its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(self.grace + 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self.wait()


def run(
    command: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    output: IO[bytes] | int | None = None,
    cwd: Path | None = None,
    grace: float = 60.0,
    stop_reason: StopReason = lambda: None,
) -> int:
    """Run a command in the foreground to its end and return its exit status.

    Signals that are sent to this process are passed on; what the command leaves behind is ended. Call it from the
    main thread. Where ``stop_reason`` gives a reason meanwhile the command is ended, and ``UserError`` raised with it.
    """
    process = Process(command, variables=variables, output=output, cwd=cwd, session=False, grace=grace)

    def forward(number: int, frame: FrameType | None) -> None:
        process.signal(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(CHECK_SECONDS)
            reason = stop_reason()
            if reason is not None:
                process.stop()
                raise UserError(reason)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
