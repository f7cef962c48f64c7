"""Who is alive, and who may write: presence of processes and leases on names, on a file system that nodes share.

A process announces itself by a file that it touches every few seconds. On its own machine a process is dead as soon as
it is gone; elsewhere it counts as dead when it has not touched its file for ``STALE_SECONDS``, by the file server's
clock. A lease on a name is the highest of numbered files, created by a hard link, which no two processes can do under
one number.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from openthoughts.base.files import replace_text

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 120.0
KNOWN_DEAD_SECONDS = STALE_SECONDS + 2 * HEARTBEAT_SECONDS
"""After so long everybody knows that a process is dead, and its leases are free."""
LONGEST_PAUSE = 1.0
RELEASED = ""


@dataclass(frozen=True)
class Process:
    """A process that no other, now or after a restart of the machine, is taken for."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Process:
        """This process."""
        return cls(*_machine(), os.getpid(), _start_time(os.getpid()) or "")

    def is_here(self) -> bool:
        """Whether the process ran on this machine, since it was last started, where its number means the same."""
        return (self.host, self.boot, self.namespace) == _machine()

    def is_running(self) -> bool:
        """Whether the process, one of this machine, still runs."""
        return _start_time(self.pid) == self.started


def _machine() -> tuple[str, str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return (
        socket.gethostname(),
        boot.read_text().strip() if boot.exists() else "",
        str(Path("/proc/self/ns/pid").stat().st_ino),
    )


def _start_time(pid: int) -> str | None:
    """When a process was started, in clock ticks since the machine was; None where it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, start = fields[0], fields[19]
    return None if state in "ZX" else start


class Presence:
    """Tells the other users of ``folder`` that this process is alive, from construction until ``close``."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex[:16]
        self._path = folder / f"{self.name}.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._announce()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _announce(self) -> None:
        replace_text(json.dumps(asdict(Process.current())), self._path)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                try:
                    os.utime(self._path)
                except FileNotFoundError:  # taken for dead while the file server did not answer
                    self._announce()

    def close(self) -> None:
        """Stop being present."""
        self._ended.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)


def is_present(folder: Path, name: str) -> bool:
    """Whether the process announced in ``folder`` under ``name`` is alive."""
    path = folder / f"{name}.json"
    try:
        process = Process(**json.loads(path.read_text()))
        touched = path.stat().st_mtime
    except (FileNotFoundError, ValueError, TypeError):
        return False
    if process.is_here():
        return process.is_running()
    return _file_server_time(folder) - touched < STALE_SECONDS


def _file_server_time(folder: Path) -> float:
    probe = folder / f".clock.{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _epochs(folder: Path, name: str) -> list[int]:
    prefix = f"{name}."
    return sorted(int(path.name[len(prefix) :]) for path in folder.glob(f"{prefix}[0-9]*"))


def try_lease(folder: Path, name: str, presences: Path, holder: str) -> Path | None:
    """Take the lease on ``name`` for the present process ``holder``; None while a living process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    epochs = _epochs(folder, name)
    epoch = epochs[-1] if epochs else 0
    if epoch:
        with suppress(FileNotFoundError):
            owner = (folder / f"{name}.{epoch:08d}").read_text()
            if owner != RELEASED and is_present(presences, owner):
                return None
    mine = folder / f"{name}.{epoch + 1:08d}"
    temporary = folder / f".{name}.{holder}.tmp"
    temporary.write_text(holder)
    try:
        os.link(temporary, mine)
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    if _epochs(folder, name)[-1] != epoch + 1:  # others came and went between the listing and the link
        mine.unlink(missing_ok=True)
        return None
    for old in epochs:
        (folder / f"{name}.{old:08d}").unlink(missing_ok=True)
    return mine


def release(lease: Path) -> None:
    """Give a lease back (which needs no space on the disk)."""
    with suppress(FileNotFoundError):  # somebody took this process for dead and the lease over
        os.truncate(lease, 0)


@contextmanager
def leased(folder: Path, name: str, presences: Path, holder: str, wait: float) -> Iterator[bool]:
    """Hold the lease on ``name``, waiting up to ``wait`` seconds for it; yields whether it was had."""
    deadline = time.monotonic() + wait
    lease, pause = try_lease(folder, name, presences, holder), 0.05
    while lease is None and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)
        lease = try_lease(folder, name, presences, holder)
    try:
        yield lease is not None
    finally:
        if lease is not None:
            release(lease)
