"""One thing that was looked at, and the commands of a cluster that are asked."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

COMMAND_SECONDS = 20


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``remedy`` is empty where all is well."""

    subject: str
    found: str
    remedy: str = ""
    is_skipped: bool = False
    """Not looked at; ``found`` says why, ``remedy`` how it can be."""
    is_warning: bool = False
    """Nothing that ends a run, but worth to be known."""
    asked: str = ""
    """The model that was asked for it."""

    @property
    def word(self) -> str:
        """What the table says first: ok, warning, skipped or problem."""
        if self.is_skipped or self.is_warning:
            return "skipped" if self.is_skipped else "warning"
        return "ok" if self.ok else "problem"

    @property
    def ok(self) -> bool:
        """Whether nothing needs to be done."""
        return self.is_skipped or self.is_warning or not self.remedy


def skipped(subject: str, why: str, remedy: str = "") -> Check:
    """Something that was not looked at."""
    return Check(subject, why, remedy, is_skipped=True)


@dataclass(frozen=True)
class Said:
    """What a command said."""

    status: int
    output: str
    errors: str


def said_by(*command: str) -> Said | None:
    """What a command says; None where there is none, or it hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return Said(done.returncode, done.stdout, done.stderr)


def output_of(*command: str) -> str | None:
    """Standard output of a command; None where there is none, it fails or hangs."""
    said = said_by(*command)
    return said.output if said and said.status == 0 else None
