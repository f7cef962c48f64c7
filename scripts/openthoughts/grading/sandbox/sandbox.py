"""Run untrusted Python: no network, no files but a small folder of its own, limits on everything, killed as a whole.

The sandbox is made of the Linux kernel's namespaces, resource limits and a system-call filter (``sandbox_child.py``),
and needs no privilege beyond unprivileged user namespaces. Where the kernel does not allow them there is no fallback:
``SandboxUnavailable`` says so, and nothing is run.
"""

from __future__ import annotations

import json
import os
import platform
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

_CHILD = Path(__file__).with_name("sandbox_child.py")
_MACHINES = ("x86_64", "aarch64")
_CHUNK = 1 << 16


class SandboxUnavailable(RuntimeError):  # noqa: N818
    """This machine cannot make a sandbox; the message says what is missing."""


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    cpu_seconds: int = 10
    wall_seconds: float = 60.0  # generous, since a busy machine must not fail a program: it ends those that sleep
    memory_bytes: int = 1 << 30  # address space
    disk_bytes: int = 32 << 20  # its temporary folder
    output_bytes: int = 1 << 20  # of standard output, and of standard error
    contained: bool = True  # False gives up the sandbox: the program may do what the user may


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    ``outcome``: ``exited`` (``status`` is its exit status), ``killed`` (``status`` is the signal: the processor limit,
    a crash), ``timeout`` (slept beyond the wall-time limit) or ``output`` (wrote more than it may).
    """

    outcome: str
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the program ended by itself with status 0."""
        return self.outcome == "exited" and self.status == 0


@contextmanager
def sandboxed(
    code: str,
    limits: Limits,
    files: Mapping[str, str] | None = None,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start Python ``code`` in a sandbox (context manager); on leaving, everything that it started is gone.

    It runs as ``program.py`` beside ``files`` in ``/tmp``, its working folder and the only one that it can write. The
    process that is given is the sandbox's keeper: it ends as the program ends (128 and the signal, where a signal ended
    the program).
    Raises ``SandboxUnavailable`` where the sandbox cannot be made.
    """
    if limits.contained and (platform.machine() not in _MACHINES or sys.platform != "linux"):
        raise SandboxUnavailable(f"there is no system-call filter for {sys.platform} on {platform.machine()}.")
    described, settings_end = os.pipe()
    status, status_end = os.pipe()
    with tempfile.TemporaryDirectory(prefix="sandbox-") as root:
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(_CHILD), str(described)],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=(described, status_end),
            env={},
        )
        try:
            os.close(described)
            os.close(status_end)
            settings = {
                **asdict(limits),
                "root": root,
                "status": status_end,
                "parent": os.getpid(),
                "folders": _folders(),
                "files": {**(files or {}), "program.py": code},
                "command": [os.path.realpath(sys.executable), "-I", "-S", "-B", "program.py"],
                "environment": {"HOME": "/tmp" if limits.contained else root, "LANG": "C.UTF-8"},
            }
            with os.fdopen(settings_end, "wb") as pipe:
                pipe.write(json.dumps(settings).encode())
            with os.fdopen(status, "rb") as answer:
                reply = answer.readline().decode(errors="replace").strip()
            if reply != "started":
                raise SandboxUnavailable(reply or keeper.communicate()[1].decode(errors="replace").strip())
            yield keeper
        finally:
            keeper.kill()
            keeper.wait()
            for stream in (keeper.stdin, keeper.stdout, keeper.stderr):
                if stream is not None:
                    stream.close()


@cache
def _folders() -> list[str]:
    """The folders that Python needs to run: its own, and those of the shared libraries that it is linked with."""
    own = os.path.realpath(sys.base_prefix)
    wanted = {own} if own != "/usr" else {"/usr/bin"}
    wanted |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64"}
    for line in Path("/proc/self/maps").read_text().splitlines():
        mapped = line.split(maxsplit=5)[5:]
        if mapped and mapped[0].startswith("/") and mapped[0].startswith(("/usr/", "/lib", "/opt/", "/apps/", own)):
            wanted.add(str(Path(mapped[0]).parent))
    known = sorted(folder for folder in wanted if Path(folder).is_dir())
    return [folder for folder in known if not any(folder.startswith(f"{other}/") for other in known)]


def run(
    code: str, stdin: bytes = b"", limits: Limits | None = None, files: Mapping[str, str] | None = None
) -> Finished:
    """Run Python ``code`` in a sandbox with ``stdin`` and collect what it writes.

    Raises ``SandboxUnavailable`` where the sandbox cannot be made.
    """
    limits = limits or Limits()
    with sandboxed(code, limits, files) as keeper:
        collected = _exchange(keeper, stdin, limits)
        if isinstance(collected, str):
            return Finished(collected, -1, b"", b"")
        status = keeper.wait()
    outcome, number = ("killed", status - 128) if status > 128 else ("exited", status)
    return Finished(outcome, number, *collected)


def _exchange(keeper: subprocess.Popen[bytes], stdin: bytes, limits: Limits) -> tuple[bytes, bytes] | str:
    """Feed and read a program until its streams end; ``timeout`` or ``output`` where it goes beyond a limit."""
    assert keeper.stdin is not None and keeper.stdout is not None and keeper.stderr is not None
    deadline = time.monotonic() + limits.wall_seconds
    read: dict[int, list[bytes]] = {keeper.stdout.fileno(): [], keeper.stderr.fileno(): []}
    left = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for descriptor in read:
            selector.register(descriptor, selectors.EVENT_READ)
        os.set_blocking(keeper.stdin.fileno(), False)
        selector.register(keeper.stdin.fileno(), selectors.EVENT_WRITE)
        while selector.get_map():
            events = selector.select(max(0.0, deadline - time.monotonic()))
            if not events:
                return "timeout"
            for key, _ in events:
                if key.fd in read:
                    chunk = os.read(key.fd, _CHUNK)
                    read[key.fd].append(chunk)
                    if sum(map(len, read[key.fd])) > limits.output_bytes:
                        return "output"
                    if not chunk:
                        selector.unregister(key.fd)
                    continue
                left = _written(key.fd, left)
                if not left:
                    selector.unregister(key.fd)
                    keeper.stdin.close()
    stdout, stderr = (b"".join(chunks) for chunks in read.values())
    return stdout, stderr


def _written(descriptor: int, data: memoryview) -> memoryview:
    """What is left to write; nothing where nobody reads any more."""
    try:
        return data[os.write(descriptor, data[:_CHUNK]) :] if data else data
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


@cache
def unavailable() -> str | None:
    """Why this machine cannot make a sandbox; null where it can (found out by making one)."""
    try:
        finished = run("print('inside')")
    except SandboxUnavailable as error:
        return str(error)
    return None if finished.stdout == b"inside\n" else f"a test program failed in it: {finished.stderr.decode()[-300:]}"
