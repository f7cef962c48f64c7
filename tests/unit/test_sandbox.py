"""The sandbox against hostile programs: each is contained, and what it tried did not happen."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from openthoughts.grading.sandbox.sandbox import Finished, Limits, run, sandboxed, unavailable

QUICK = Limits(cpu_seconds=2, wall_seconds=20, memory_bytes=256 << 20, disk_bytes=4 << 20, output_bytes=100_000)


def hostile(code: str, limits: Limits = QUICK) -> Finished:
    """Run a hostile program that prints what it managed to do."""
    return run(code, limits=limits)


def test_this_machine_can_make_a_sandbox() -> None:
    assert unavailable() is None


def test_an_honest_program_reads_computes_writes_and_starts_threads() -> None:
    code = """
import sys, threading, math, decimal, json, collections, random, re, functools, heapq, bisect, itertools, fractions
thread = threading.Thread(target=lambda: open("/tmp/note", "w").write("kept"))
thread.start(); thread.join()
print(sum(map(int, sys.stdin.read().split())), open("/tmp/note").read(), math.factorial(20))
"""
    finished = run(code, b"1 2 3\n" * 50_000, QUICK)
    assert finished.succeeded, finished
    assert finished.stdout == f"{6 * 50_000} kept 2432902008176640000\n".encode()


def test_a_failing_program_says_so() -> None:
    finished = hostile("raise SystemExit(7)")
    assert (finished.outcome, finished.status, finished.succeeded) == ("exited", 7, False)
    assert b"ZeroDivisionError" in hostile("1/0").stderr


@pytest.mark.parametrize(
    "attempt",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess; subprocess.run(['/tmp/program.py'])",
        "import multiprocessing as m; p = m.Process(target=print); p.start()",
        "import os; os.posix_spawn('/usr/bin/true', ['true'], {})",
    ],
    ids=["fork bomb", "subprocess", "multiprocessing", "spawn"],
)
def test_no_new_processes(attempt: str) -> None:
    finished = hostile(attempt)
    assert not finished.succeeded
    assert b"PermissionError" in finished.stderr or b"BlockingIOError" in finished.stderr


def test_threads_are_bounded_by_memory() -> None:
    code = """
import threading, time
count = 0
try:
    while count < 5000:
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start(); count += 1
except RuntimeError:
    pass
print(count)
"""
    finished = hostile(code, Limits(cpu_seconds=5, wall_seconds=15, memory_bytes=256 << 20))
    assert int(finished.stdout or 0) < 100


def test_memory_is_limited() -> None:
    assert b"MemoryError" in hostile("x = bytearray(1 << 30)").stderr
    assert not hostile("x = []\nwhile True: x.append(bytearray(1 << 20))").succeeded


def test_memory_outside_of_the_address_space_is_refused() -> None:
    assert b"PermissionError" in hostile("import os; os.memfd_create('x')").stderr
    shared = "import ctypes; print(ctypes.CDLL(None).shmget(0, 1 << 28, 0o1600))"
    assert hostile(shared).stdout == b"-1\n"


def test_the_disk_is_limited() -> None:
    code = """
import os
written = 0
try:
    for number in range(200):
        with open(f"/tmp/{number}", "wb") as file:
            written += file.write(bytes(1 << 20))
except OSError as error:
    print(error.errno, written <= 4 << 20)
"""
    assert hostile(code).stdout == b"28 True\n"
    assert not hostile("open('/tmp/big', 'wb').write(bytes(64 << 20))").succeeded
    files = "import os\nfor n in range(5000): open(f'/tmp/{n}', 'w').close()"
    assert b"No space left" in hostile(files).stderr


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('127.0.0.1', 22), 2)",
        "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "import socket; socket.socket(40, socket.SOCK_STREAM)",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=2)",
    ],
    ids=["loopback", "unix", "vsock", "internet"],
)
def test_no_network(attempt: str) -> None:
    finished = hostile(attempt)
    assert not finished.succeeded
    assert b"Operation not permitted" in finished.stderr


def test_nothing_of_the_outside_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = f"""
import os
print(sorted(os.environ))
places = [{str(secret)!r}, {str(Path(__file__))!r}, "/root/.bashrc", "/etc/passwd", "/etc/shadow", "/proc/1/environ",
          "/proc/self/environ", "/proc/self/root/etc/passwd", "/sys/kernel", "/home", "/dev/shm"]
for path in places:
    try:
        print("read", path, os.listdir(path) if os.path.isdir(path) else open(path).read())
    except OSError:
        pass
for descriptor in range(3, 64):
    try:
        print("open", descriptor, os.fstat(descriptor))
    except OSError:
        pass
"""
    finished = hostile(code)
    assert finished.succeeded, finished
    assert finished.stdout == b"['HOME', 'LANG']\n"


def test_nothing_outside_its_folder_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / "written"
    places = [
        "/x",
        "/dev/x",
        "/usr/x",
        "/usr/lib/x",
        "/lib/x",
        os.path.realpath(sys.base_prefix) + "/x",
    ]
    code = f"""
import os
for path in {places!r}:
    try:
        open(path, "w").close()
        print("wrote", path)
    except OSError:
        pass
os.makedirs({str(tmp_path)!r}, exist_ok=True)
open({str(target)!r}, "w").close()  # in a folder of the same name, in the sandbox
"""
    finished = hostile(code)
    assert (finished.outcome, finished.stdout) == ("exited", b"")
    assert not target.exists()


def test_others_cannot_be_killed() -> None:
    code = """
import os, signal
print(os.getpid(), os.getppid())
for number in range(2, 100_000):
    try:
        os.kill(number, signal.SIGKILL); print("killed", number)
    except OSError:
        pass
print("still here")
"""
    assert hostile(code).stdout == b"1 0\nstill here\n"
    for suicide in ("os.killpg(0, 9)", "os.kill(0, 9)", "os.kill(-1, 9)"):
        hostile(f"import os; {suicide}")
    assert run("print('the grader lives')").stdout == b"the grader lives\n"


def test_endless_output_is_cut() -> None:
    assert hostile("while True: print('x' * 10_000)").outcome == "output"
    assert hostile("import sys\nwhile True: sys.stderr.write('x' * 10_000)").outcome == "output"


def test_time_is_limited_asleep_and_awake() -> None:
    quick = Limits(cpu_seconds=1)
    spinning = hostile("while True: pass", quick)
    assert (spinning.outcome, spinning.status) in (("killed", 24), ("killed", 9))
    ignoring = hostile("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", quick)
    assert (ignoring.outcome, ignoring.status) == ("killed", 9)
    asleep = hostile("import time; time.sleep(1000)", Limits(wall_seconds=1.5))
    assert asleep.outcome == "timeout"


@pytest.mark.parametrize("call", ["unshare", "mount", "chroot", "ptrace", "setns", "keyctl", "bpf", "io_uring_setup"])
def test_the_kernel_refuses_what_could_lead_out(call: str) -> None:
    from openthoughts.grading.sandbox.sandbox_child import ARCHITECTURES, REFUSED

    number = {**ARCHITECTURES[os.uname().machine]["refused"], **REFUSED}[call]
    library = "import ctypes; c = ctypes.CDLL(None, use_errno=True)"
    code = f"{library}; print(c.syscall({number}, 0, 0, 0, 0, 0), ctypes.get_errno())"
    assert hostile(code).stdout == b"-1 1\n"


def test_limits_cannot_be_raised_and_there_is_no_capability() -> None:
    code = """
import os, resource
try:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2); print("raised")
except (ValueError, OSError):
    pass
try:
    os.setuid(0); print("root")
except OSError:
    pass
try:
    os.mknod("/tmp/device", 0o600 | 0o020000, os.makedev(1, 1)); print("device")
except OSError:
    pass
"""
    assert hostile(code).stdout == b""


def test_leaving_kills_everything_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with sandboxed("import time\nprint('here', flush=True)\ntime.sleep(1000)", QUICK) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"here\n"
        inside = psutil.Process(keeper.pid).children(recursive=True)
        assert len(inside) == 1
    deadline = time.monotonic() + 120
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in inside):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []
