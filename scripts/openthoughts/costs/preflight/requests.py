"""What one job asks SLURM for, read off the arguments of sbatch that the executor would give."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
"""Megabytes of SLURM's units of memory."""

NONE = frozenset({"", "UNLIMITED", "NONE", "N/A", "INFINITE", "(NULL)", "-1"})
"""SLURM's words for no limit."""


@dataclass(frozen=True)
class Request:
    """One attempt of a job. Memory is in MB, time in minutes; what is not asked for is null or 0."""

    words: tuple[str, ...]
    """The arguments of sbatch."""
    attempt: int
    account: str
    partition: str
    qos: str
    minutes: float | None
    nodes: int
    cpus: int
    """Of each node, like memory and GPUs."""
    memory: float
    gpus: int
    gpu_type: str

    def describe(self) -> str:
        """What is asked for, in words."""
        parts = [f"{self.nodes} nodes of"] if self.nodes > 1 else []
        if self.gpus:
            parts.append(f"{self.gpus} {self.gpu_type or 'GPU'},")
        parts.append(f"{self.cpus} {'cores' if self.cpus > 1 else 'core'},")
        parts.append(f"{gigabytes(self.memory)}, {hours(self.minutes)}")
        return " ".join(parts)

    def tres(self) -> dict[str, float]:
        """The whole job in SLURM's trackable resources; memory in MB."""
        found = {
            "node": float(self.nodes),
            "cpu": float(self.nodes * self.cpus),
            "mem": self.nodes * self.memory,
            "gres/gpu": float(self.nodes * self.gpus),
        }
        if self.gpu_type:
            found[f"gres/gpu:{self.gpu_type}"] = found["gres/gpu"]
        return found


def gigabytes(megabytes: float) -> str:
    """Memory as SLURM's users write it, in thousands of MB."""
    return f"{megabytes / 1000:,.0f} GB" if megabytes >= 1000 else f"{megabytes:,.0f} MB"


def hours(minutes: float | None) -> str:
    """A time limit in words."""
    if minutes is None:
        return "no time limit"
    return f"{minutes / 60:,.1f} h".replace(".0 h", " h") if minutes >= 60 else f"{minutes:g} min"


def megabytes(text: str) -> float | None:
    """SLURM's words for an amount of memory; null for no limit or what cannot be read."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)[cn]?", text.strip().upper().removesuffix("B"))
    return float(match[1]) * UNITS[match[2] or "M"] if match else None


def minutes_of(text: str) -> float | None:
    """SLURM's words for a time, such as ``2-00:00:00``, ``30:00`` or ``60``, in minutes; null for no limit."""
    if text.strip().upper() in NONE:
        return None
    days, dash, clock = text.strip().rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        if dash:  # days-hours[:minutes[:seconds]]
            hour, minute, second = (*parts, 0, 0)[:3]
            return int(days) * 1440 + hour * 60 + minute + second / 60
        if len(parts) == 3:
            return parts[0] * 60 + parts[1] + parts[2] / 60
        return parts[0] + (parts[1] / 60 if len(parts) == 2 else 0)
    except ValueError:
        return None


def number(text: str | None) -> float | None:
    """A number of SLURM's; null for no limit or what is none."""
    try:
        return None if text is None or text.strip().upper() in NONE else float(text)
    except ValueError:
        return None


def gpus_of(gres: str) -> dict[str, int]:
    """Type -> number of GPUs in SLURM's words, such as ``gpu:a100:8(S:0-1),lscratch:900``; the type may be empty."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = part.strip().split(":")
        if name != "gpu":
            continue
        count = int(rest.pop()) if rest and rest[-1].isdigit() else 1
        kind = rest[0] if rest else ""
        found[kind] = found.get(kind, 0) + count
    return found


def tres_of(text: str) -> Mapping[str, float]:
    """SLURM's trackable resources, such as ``cpu=64,gres/gpu=8,mem=500G``; memory in MB."""
    found = {}
    for part in text.split(","):
        name, _, amount = part.strip().partition("=")
        value = megabytes(amount) if name == "mem" else number(amount)
        if name and value is not None and value >= 0:
            found[name] = value
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (
        ("-A", "--account"),
        ("-p", "--partition"),
        ("-q", "--qos"),
        ("-t", "--time"),
        ("--mem",),
        ("--mem-per-cpu",),
        ("-N", "--nodes"),
        ("-n", "--ntasks"),
        ("--ntasks-per-node",),
        ("-c", "--cpus-per-task"),
        ("--cpus-per-gpu",),
        ("--gres",),
        ("-G", "--gpus"),
    ):
        parser.add_argument(*names, default="")
    return parser


def request(attempt: int, words: Sequence[str]) -> Request:
    """The request that arguments of sbatch make; what they do not say is what SLURM takes without it."""
    said, _ = _parser().parse_known_args(list(words))
    nodes = int(number(said.nodes) or 1)
    given = gpus_of(said.gres)
    if not given and said.gpus:
        kind, _, count = said.gpus.rpartition(":")
        given = {kind: math.ceil((number(count) or 1) / nodes)}
    gpu_type, gpus = next(iter(given.items()), ("", 0))
    tasks = number(said.ntasks) or nodes * (number(said.ntasks_per_node) or 1)
    spread = math.ceil(tasks / nodes) if said.nodes else 1  # without a number of nodes tasks may be anywhere
    if said.cpus_per_gpu:
        cpus = int(number(said.cpus_per_gpu) or 1) * gpus
    else:
        cpus = int(number(said.cpus_per_task) or 1) * spread
    each = megabytes(said.mem_per_cpu)
    memory = cpus * each if each else megabytes(said.mem) or 0.0
    return Request(
        tuple(words),
        attempt,
        said.account,
        said.partition,
        said.qos,
        minutes_of(said.time) if said.time else None,
        nodes,
        cpus,
        memory,
        gpus,
        gpu_type,
    )
