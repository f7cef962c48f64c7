"""Enter a sandbox made of the kernel's namespaces, then run a program in it. Run as a program by ``sandbox.py``.

Standard library only; the one argument is the descriptor from which the settings are read as JSON. The steps: new user,
mount, process, network, IPC and host-name namespaces; a root file system of read-only system libraries and one small
temporary folder; resource limits; no capabilities; a system-call filter that refuses new processes, sockets, and what
widens the kernel's surface. Writes one line to the status descriptor: ``started`` when the program is about to start,
else why it cannot.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
CLONE_THREAD = 0x00010000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1024, 2048, 4096, 16384, 1 << 18, 1 << 21
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2

INSIDE_ID = 1000
"""User and group inside; any but 0, so that running the program drops every capability."""

DEVICES = ("null", "zero", "full", "urandom", "random")

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "x86_64": {
        "audit": 0xC000003E,
        "pivot_root": 155,
        "clone": 56,
        "refused": {
            "fork": 57,
            "vfork": 58,
            "ptrace": 101,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "mount": 165,
            "umount2": 166,
            "pivot_root": 155,
            "chroot": 161,
            "unshare": 272,
            "setns": 308,
            "socket": 41,
            "shmget": 29,
            "memfd_create": 319,
            "keyctl": 250,
            "add_key": 248,
            "request_key": 249,
            "bpf": 321,
            "perf_event_open": 298,
            "userfaultfd": 323,
            "kexec_load": 246,
            "init_module": 175,
            "finit_module": 313,
            "delete_module": 176,
            "open_by_handle_at": 304,
            "name_to_handle_at": 303,
        },
        "x32": True,
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "pivot_root": 41,
        "clone": 220,
        "refused": {
            "ptrace": 117,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "mount": 40,
            "umount2": 39,
            "pivot_root": 41,
            "chroot": 51,
            "unshare": 97,
            "setns": 268,
            "socket": 198,
            "shmget": 194,
            "memfd_create": 279,
            "keyctl": 219,
            "add_key": 217,
            "request_key": 218,
            "bpf": 280,
            "perf_event_open": 241,
            "userfaultfd": 282,
            "kexec_load": 104,
            "init_module": 105,
            "finit_module": 273,
            "delete_module": 106,
            "open_by_handle_at": 265,
            "name_to_handle_at": 264,
        },
        "x32": False,
    },
}
"""Numbers of system calls (kernel headers, asm/unistd.h) by machine."""

CLONE3, MOUNT_SETATTR = 435, 442
REFUSED = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsmount": 432,
    "memfd_secret": 447,
}
"""System calls that have one number on every machine."""

AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

EPERM, ENOSYS = 1, 38


def check(result: int, what: str) -> None:
    """Raise ``OSError`` where a call into the C library failed."""
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    """``mount(2)``."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), flags, options.encode())
    check(LIBC.mount(*arguments), f"mount {target}")


def prctl(option: int, *values: Any) -> None:
    """``prctl(2)``."""
    padded = [*values, *[0] * (4 - len(values))]
    check(LIBC.prctl(option, *[ctypes.c_ulong(v) if isinstance(v, int) else v for v in padded]), f"prctl {option}")


def new_namespaces() -> None:
    """Leave the caller's namespaces; the user becomes ``INSIDE_ID`` of a user namespace without anyone else."""
    user, group = os.getuid(), os.getgid()
    kinds = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    if LIBC.unshare(kinds) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"its kernel refuses unprivileged user namespaces: {os.strerror(error)}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{INSIDE_ID} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{INSIDE_ID} {group} 1")


def read_only(path: Path) -> None:
    """Make a bind mount and the mounts below it read-only."""
    wanted = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    attributes = struct.pack("QQQQ", wanted, 0, 0, 0)
    arguments = (ctypes.c_int(AT_FDCWD), os.fsencode(path), ctypes.c_uint(AT_RECURSIVE), attributes)
    if LIBC.syscall(ctypes.c_long(MOUNT_SETATTR), *arguments, ctypes.c_size_t(len(attributes))) != 0:
        remount_read_only(path)


def remount_read_only(path: Path) -> None:
    """Make one bind mount read-only on kernels before 5.12, keeping the flags locked in a user namespace."""
    flags = os.statvfs(path).f_flag
    kept = {os.ST_NOEXEC: MS_NOEXEC, os.ST_NOATIME: MS_NOATIME, os.ST_NODIRATIME: MS_NODIRATIME}
    locked = sum(mounted for stated, mounted in kept.items() if flags & stated)
    locked |= MS_RELATIME if flags & os.ST_RELATIME else 0
    mount("none", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | locked)


def build_root(root: Path, settings: dict[str, Any]) -> None:
    """Mount the file system of the sandbox under ``root`` and make it the root."""
    mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for folder in settings["folders"]:
        source = Path(folder)
        target = root / folder.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
            continue
        target.mkdir(exist_ok=True)
        mount(folder, target, "", MS_BIND | MS_REC)
        read_only(target)
    (root / "dev").mkdir()
    for device in DEVICES:
        (root / "dev" / device).touch()
        mount(f"/dev/{device}", root / "dev" / device, "", MS_BIND)
    (root / "tmp").mkdir()
    mount(
        "tmpfs", root / "tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={settings['disk_bytes']},nr_inodes=1024,mode=700"
    )
    write_files(root / "tmp", settings)
    os.chdir(root)
    number = ARCHITECTURES[platform.machine()]["pivot_root"]
    check(LIBC.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    check(LIBC.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/tmp")
    mount("none", Path("/"), "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def write_files(folder: Path, settings: dict[str, Any]) -> None:
    """Write the program and its files."""
    for name, text in settings["files"].items():
        (folder / name).write_text(text, encoding="utf-8")


def limit_resources(settings: dict[str, Any]) -> None:
    """Processor time, memory, file size and open files; no core dumps."""
    limits = {
        resource.RLIMIT_CPU: (settings["cpu_seconds"], settings["cpu_seconds"] + 1),
        resource.RLIMIT_AS: (settings["memory_bytes"],) * 2,
        resource.RLIMIT_FSIZE: (settings["disk_bytes"],) * 2,
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
    }
    for kind, values in limits.items():
        resource.setrlimit(kind, values)


def filter_program() -> bytes:
    """The system-call filter (classic BPF): new processes and dangerous calls are refused, threads are not."""
    machine = ARCHITECTURES[platform.machine()]
    load, equal, at_least, test, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, error = 0x7FFF0000, 0x80000000, 0x00050000

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    steps = [step(load, 4), step(equal, machine["audit"], 1, 0), step(give, kill), step(load, 0)]
    if machine["x32"]:
        steps += [step(at_least, 0x40000000, 0, 1), step(give, kill)]
    for number in (*machine["refused"].values(), *REFUSED.values()):
        steps += [step(equal, number, 0, 1), step(give, error | EPERM)]
    # glibc falls back from clone3, whose flags a filter cannot see, to clone
    steps += [step(equal, CLONE3, 0, 1), step(give, error | ENOSYS)]
    steps += [step(equal, machine["clone"], 0, 4), step(load, 16), step(test, CLONE_THREAD, 1, 0)]
    steps += [step(give, error | EPERM), step(give, allow), step(give, allow)]
    return b"".join(steps)


def filter_calls() -> None:
    """Install the filter, for good."""
    program = filter_program()
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    described = Program(len(program) // 8, ctypes.addressof(code))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(described))


def become_program(settings: dict[str, Any], status: int) -> None:
    """In the first process of the new namespaces: build the sandbox and turn into the program."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    if settings["contained"]:
        build_root(Path(settings["root"]), settings)
    else:
        os.chdir(settings["root"])
        write_files(Path(settings["root"]), settings)
    limit_resources(settings)
    os.write(status, b"started\n")
    os.set_inheritable(status, False)
    if settings["contained"]:
        filter_calls()
    os.execve(settings["command"][0], settings["command"], settings["environment"])


def main() -> int:
    """Run the sandboxed program and end as it ended: its exit status, or 128 and its signal."""
    with os.fdopen(int(sys.argv[1]), "rb") as described:
        settings = json.load(described)
    status = settings["status"]
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != settings["parent"]:
        return 1
    try:
        if settings["contained"]:
            new_namespaces()
        child = os.fork()
        if child == 0:
            become_program(settings, status)
    except OSError as error:
        os.write(status, f"{error.strerror}\n".encode())
        os._exit(1)
    os.close(status)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    _, ended = os.waitpid(child, 0)
    if not settings["contained"]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
    os._exit(os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 128 + os.WTERMSIG(ended))


if __name__ == "__main__":
    sys.exit(main())
