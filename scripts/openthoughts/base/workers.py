"""Run a function on many tasks in worker processes, each task under a limit of its own.

The limit is processor time of the worker since it received the task: waiting in a queue or for a busy machine never
counts. A task over its limit, or one that kills its worker, costs that worker (which is replaced at once) and yields an
outcome that says so, so that "gave up" is never taken for an answer. A worker that is killed before it began a task
costs no task: another one gets it.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.util import get_temp_dir
from types import TracebackType
from typing import Any

import psutil

_POLL_SECONDS = 0.2
_STALLED_FACTOR = 360  # wall time, in processor limits, after which a worker that uses no processor is given up
_ENDING_SECONDS = 10  # that a worker which closed its connection has to end
_KILLED_STARTS = 10  # starts per worker that are killed one after another before the program gives up
_READY = "ready"
_WINDOW = 10_000  # results waiting for an earlier one
_LONGEST_TEMPORARY_FOLDER = 70  # 107 bytes may name a socket; multiprocessing adds 33 to the folder


@dataclass(frozen=True)
class Outcome:
    """What became of one task: its value, or the reason why there is none (``error``)."""

    value: Any = None
    error: str | None = None


def usable_processors() -> int:
    """How many processors this process may use: its affinity (set by a cluster's job), at most OMP_NUM_THREADS.

    Snakemake sets that variable to the threads of the rule.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    allowed = len(os.sched_getaffinity(0))
    return min(allowed, int(asked)) if asked.isdecimal() and int(asked) > 0 else allowed


def use_short_temporary_folder() -> None:
    """Let multiprocessing make its sockets in ``/tmp`` where the temporary folder has too long a name for them."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_TEMPORARY_FOLDER:
        return
    usual, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        get_temp_dir()  # made once for the process
    finally:
        tempfile.tempdir = usual


class Workers:
    """Worker processes that apply one picklable module-level ``function`` to tasks.

    ``cpu_seconds`` limits each task, ``memory_bytes`` the address space of each worker; ``preload`` names the slow
    imports, made once and shared. Use as a context manager: on leaving, every worker is gone.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        count: int = 0,
        cpu_seconds: float = 10.0,
        memory_bytes: int = 8 << 30,
        preload: Sequence[str] = (),
    ) -> None:
        self._function = function
        self._count = count or usable_processors()
        self._cpu_seconds = cpu_seconds
        self._memory_bytes = memory_bytes
        use_short_temporary_folder()
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._preload = tuple(preload)
        self._lifeline = self._context.Pipe(duplex=False)
        self._workers: list[_Worker] = []
        self._killed_starts = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._workers:
            self._workers.pop().stop()
        for end in self._lifeline:
            end.close()

    def map(self, tasks: Iterable[Any]) -> Iterator[Outcome]:
        """The outcome of every task, in the order of the tasks; tasks are taken lazily."""
        pending = enumerate(tasks)
        finished: dict[int, Outcome] = {}
        following = 0
        exhausted = False
        while True:
            while not exhausted and len(finished) < _WINDOW and self._busy() < self._count:
                number, task = next(pending, (-1, None))
                exhausted = number < 0
                if not exhausted:
                    self._hand(number, task)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy and exhausted:
                break
            finished.update(self._collect(busy))
            while following in finished:
                yield finished.pop(following)
                following += 1

    def _hand(self, number: int, task: Any) -> None:
        """Hand a task to a worker; to another one where that was killed while it had nothing to do."""
        while not (worker := self._idle()).start(number, task):
            self._lose(worker)

    def _lose(self, worker: _Worker) -> None:
        """Put away a worker that is gone. Raises ``RuntimeError`` where workers cannot start."""
        status = worker.status()
        worker.stop()
        self._workers.remove(worker)
        self._killed_starts = 0 if worker.ready else self._killed_starts + 1
        if not worker.ready and status is not None and status >= 0:
            raise RuntimeError("a worker process died while it started: see its message above.")
        if self._killed_starts > _KILLED_STARTS * self._count:
            raise RuntimeError(f"worker processes are killed while they start (the last one with status {status}).")

    def _busy(self) -> int:
        return sum(worker.task is not None for worker in self._workers)

    def _idle(self) -> _Worker:
        """A worker without a task, a new one where all have one."""
        for worker in self._workers:
            if worker.task is None and not worker.dead and worker.process.is_alive():
                return worker
        arguments = (self._function, self._memory_bytes, self._preload)
        self._workers.append(_Worker(self._context, self._lifeline[0], *arguments))
        return self._workers[-1]

    def _collect(self, busy: list[_Worker]) -> dict[int, Outcome]:
        """The outcomes that are there, and those of workers over their limit; waits a moment where there are none."""
        ready = set(wait([worker.connection for worker in busy], timeout=_POLL_SECONDS))
        outcomes = {}
        for worker in busy:
            number = worker.task
            assert number is not None
            if worker.connection in ready:
                received = worker.receive()
                if received is None and worker.dead:
                    self._lose(worker)
                    self._hand(number, worker.given)
                if received is None:
                    continue
                outcome = received
            elif worker.over_limit(self._cpu_seconds):
                outcome = Outcome(error=f"gave up after {self._cpu_seconds:g} s of processor time")
                worker.dead = True
            else:
                continue
            outcomes[number] = outcome
            if worker.dead:
                worker.stop()
                self._workers.remove(worker)
        return outcomes


class _Worker:
    """One worker process, and the number and the task that it is at (null when idle)."""

    def __init__(self, context: Any, *arguments: Any) -> None:
        """``arguments``: those of ``_serve`` after the connection."""
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()
        self.task: int | None = None
        self.given: Any = None
        self.dead = False
        self.ready = False
        self._cpu_at_start = 0.0
        self._started = 0.0

    def start(self, number: int, task: Any) -> bool:
        """Hand the worker a task; whether it was still there to take it."""
        self._cpu_at_start = self._cpu_time()
        self._started = time.monotonic()
        try:
            self.connection.send(task)
        except OSError:
            self.dead = True
        else:
            self.task, self.given = number, task
        return not self.dead

    def receive(self) -> Outcome | None:
        """The outcome of the task.

        Null for a new worker's word that it has started, which is when its time begins, and where it never did.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.dead = True
            if not self.ready:
                return None
            message = (None, "the worker died")
        if message == _READY:
            self.ready = True
            self._cpu_at_start = self._cpu_time()
            return None
        self.task = self.given = None
        value, error = message
        return Outcome(value, error)

    def status(self) -> int | None:
        """The exit status of a worker that closed its connection; null where it has not ended."""
        self.process.join(_ENDING_SECONDS)
        status: int | None = self.process.exitcode
        return status

    def over_limit(self, cpu_seconds: float) -> bool:
        stalled = time.monotonic() - self._started > cpu_seconds * _STALLED_FACTOR
        return stalled or (self.ready and self._cpu_time() - self._cpu_at_start > cpu_seconds)

    def _cpu_time(self) -> float:
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()


def _end_with(lifeline: Connection) -> None:
    """Let the kernel end this process (SIGIO) when the other end of ``lifeline`` closes.

    So no worker outlives a killed parent, not even one that computes without ever returning to Python.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    # Opened again, since all workers share what they were given, and the kernel signals one process of each.
    own = os.open(f"/proc/self/fd/{lifeline.fileno()}", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    if lifeline.poll():
        os._exit(1)


def _serve(
    connection: Connection,
    lifeline: Connection,
    function: Callable[[Any], Any],
    memory_bytes: int,
    preload: Sequence[str],
) -> None:
    _end_with(lifeline)
    for name in preload:
        importlib.import_module(name)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send(_READY)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            reply: tuple[Any, str | None] = (function(task), None)
        except MemoryError:
            reply = (None, "ran out of memory")
        except Exception as error:
            reply = (None, f"{type(error).__name__}: {error}"[:500])
        connection.send(reply)
