"""GPU-hours: what the engines of a store's clients have used, and a cap on it.

Each client that starts an engine writes what its GPUs have used to a file of its own beside the store, every few
seconds from the engine's start to its end, so that all clients and later runs know the sum. The cap is passed by
nobody: a client stops asking when the sum, with the time that everybody may still need to finish what is in flight,
reaches it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from openthoughts.base.cli import UserError
from openthoughts.base.files import replace_text
from openthoughts.base.gpus import gpu_name
from openthoughts.base.processes import StopReason
from openthoughts.store.leases import KNOWN_DEAD_SECONDS, is_present
from openthoughts.store.store import Store

FOLDER = "gpu-hours"
BEAT_SECONDS = 2.0
"""Seconds between two looks at the sum; what a client that is killed has used goes uncounted for so long at most."""

log = logging.getLogger(__name__)


class Use(NamedTuple):
    """What the engines of one client have used, and what it still may need to finish what is in flight (GPU-hours).

    What they gave for it is what speeds are measured by.
    """

    model: str
    hours: float
    reserved: float
    gpu: str = ""
    """The driver's name of the GPUs; empty where it is not known."""
    gpus: int = 0
    """GPUs of one engine; 0 where an earlier version did not note it."""
    about: str = ""
    """Name of the structured output that was asked for; empty for free text."""
    seconds: float = 0.0
    """From the first request to the last answer: without the engine's start."""
    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @staticmethod
    def read(path: Path) -> Use:
        """What was noted in a file; what a later version notes besides is left out."""
        noted = json.loads(path.read_text())
        return Use(**{name: value for name, value in noted.items() if name in Use._fields})


class GpuMeter:
    """Counts one client's GPU-hours against a cap (GPU-hours of all clients of the store; 0 is none)."""

    def __init__(self, store: Store, model: str, cap: float = 0.0, grace: float = 0.0, about: str = "") -> None:
        """``grace`` is the time (s) that answers in flight get once the asking stops; ``about`` as in ``Use``."""
        self._store = store
        self._use = Use(model, 0.0, 0.0, about=about)
        self._grace = grace
        self._ended = threading.Event()
        self._path = store.folder / FOLDER / f"{store.writer}.json"
        self._asked_at: float | None = None
        self._before = self._use
        self.cap = cap
        self.is_used_up = False
        """Whether the cap leaves no more than what is needed to finish what is in flight."""

    @contextmanager
    def running(self, gpus: int) -> Iterator[StopReason]:
        """An engine of so many GPUs runs; yields a function that says why it must end, None while it may go on.

        Raises ``UserError`` where the cap leaves nothing for it.
        """
        if not gpus:
            yield lambda: None
            return
        self._before = self._read_before()
        self._use = self._before._replace(gpu=gpu_name(), gpus=gpus)
        self._asked_at = None
        self._enter(gpus)
        self._ended.clear()
        began = time.monotonic()
        beat = threading.Thread(target=self._count, args=(gpus, began), name="gpu-hours", daemon=True)
        beat.start()
        try:
            yield lambda: self.exhausted() if self.is_used_up else None
        finally:
            self._ended.set()
            beat.join()
            self._write(gpus * (time.monotonic() - began) / 3600, 0.0)

    def asking(self) -> None:
        """The first request is sent now."""
        self._asked_at = time.monotonic()

    def answered(self, input_tokens: int, output_tokens: int) -> None:
        """Count an answer of the engine; one without tokens is none, or one whose tokens the server did not tell."""
        use = self._use
        self._use = use._replace(
            seconds=self._before.seconds + time.monotonic() - (self._asked_at or time.monotonic()),
            answers=use.answers + (output_tokens > 0),
            input_tokens=use.input_tokens + input_tokens,
            output_tokens=use.output_tokens + output_tokens,
        )

    def _enter(self, gpus: int) -> None:
        """Reserve what an engine needs at least. Raises ``UserError`` where the cap leaves less."""
        needed = gpus * self._grace / 3600
        if not self.cap:
            self._write(0.0, needed)
            return
        with self._store.lease(FOLDER, wait=KNOWN_DEAD_SECONDS) as had:  # else several would see the same room
            if not had:
                raise UserError(f"the GPU-hours of {self._store.folder} are locked by another process: run again.")
            self._look(needed)
            if self.is_used_up:
                raise UserError(self.exhausted())
            self._write(0.0, needed)

    def exhausted(self) -> str:
        """One sentence about what is used and what to do."""
        used = sum(use.hours for use in used_by_all(self._store.folder))
        return (
            f"the budget of {self.cap:g} GPU-hours does not pay for more answers ({used:.3g} are used): "
            "raise `budget: gpu_hours` and run again for the rest."
        )

    def _count(self, gpus: int, began: float) -> None:
        while True:
            with suppress(OSError):  # a full disk ends the run elsewhere
                self._write(gpus * (time.monotonic() - began) / 3600, gpus * self._grace / 3600)
                self._look()
            if self._ended.wait(BEAT_SECONDS):
                return

    def _look(self, more: float = 0.0) -> None:
        if self.cap:
            uses = used_by_all(self._store.folder)
            self.is_used_up = more + sum(use.hours + use.reserved for use in uses) >= self.cap

    def _read_before(self) -> Use:
        """What engines that this client ran earlier have used: hours add up in its one file."""
        return Use.read(self._path) if self._path.exists() else self._use

    def _write(self, hours: float, reserved: float) -> None:
        self._path.parent.mkdir(exist_ok=True)
        use = self._use._replace(hours=self._before.hours + hours, reserved=reserved)
        replace_text(json.dumps(use._asdict()), self._path)


def used_by_all(store: Path) -> list[Use]:
    """What each engine of a store's clients has used; only clients that live have something reserved."""
    return list(used_by_each(store).values())


def used_by_each(store: Path) -> dict[str, Use]:
    """The same by the clients' names, under which they write to the store."""
    uses = {}
    for path in sorted((store / FOLDER).glob("*.json")):
        use = Use.read(path)
        if use.reserved and not is_present(store / "writers", path.stem):
            use = use._replace(reserved=0.0)
        uses[path.stem] = use
    return uses
