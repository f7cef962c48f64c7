"""What a cluster allows: its partitions and their nodes, and the limits of account and QOS."""

from __future__ import annotations

import functools
import getpass
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from openthoughts.costs.preflight.checks import output_of
from openthoughts.costs.preflight.requests import Request, gpus_of, megabytes, minutes_of, number, tres_of

UNUSABLE = ("down", "drain", "drng", "fail", "futr", "future", "inval", "unk")
"""How states begin of nodes that take no jobs."""


@dataclass(frozen=True)
class Node:
    """A node as it is configured; memory in MB."""

    cpus: int
    memory: float
    gpus: Mapping[str, int]
    usable: bool

    def holds(self, request: Request) -> bool:
        """Whether the node has what a job asks of each of its nodes."""
        gpus = self.gpus.get(request.gpu_type, 0) if request.gpu_type else sum(self.gpus.values())
        return self.cpus >= request.cpus and self.memory >= request.memory and gpus >= request.gpus


@dataclass(frozen=True)
class Partition:
    """A partition: SLURM's own words of its settings, and its nodes."""

    name: str
    settings: Mapping[str, str]
    nodes: tuple[Node, ...]

    @property
    def minutes(self) -> float | None:
        """The longest time of a job; null for no limit."""
        return minutes_of(self.settings.get("MaxTime", ""))

    @property
    def most_nodes(self) -> float | None:
        """Most nodes of a job; null for no limit."""
        return number(self.settings.get("MaxNodes"))

    @property
    def most_cpus(self) -> float | None:
        """Most cores of a job on one node; null for no limit."""
        return number(self.settings.get("MaxCPUsPerNode"))

    @property
    def most_memory(self) -> float | None:
        """Most memory (MB) of a job on one node; null for no limit."""
        return megabytes(self.settings.get("MaxMemPerNode", "")) or None

    @property
    def memory_of_a_core(self) -> float | None:
        """Memory (MB) for which SLURM gives a job one core at least; null where it gives none for memory."""
        return megabytes(self.settings.get("MaxMemPerCPU", "")) or None

    @property
    def cores_of_a_node(self) -> float:
        """Most cores that a job can have on one node."""
        largest = max((node.cpus for node in self.nodes), default=0)
        return min(largest, self.most_cpus or largest)

    def given(self, request: Request) -> Request:
        """What SLURM makes of a request: cores for its memory, too (``MaxMemPerCPU`` in ``man slurm.conf``)."""
        each = self.memory_of_a_core
        return request if each is None else replace(request, cpus=max(request.cpus, math.ceil(request.memory / each)))

    def refuses_account(self, account: str) -> bool:
        """Whether the partition is not for an account."""
        allowed = self.settings.get("AllowAccounts", "ALL")
        denied = self.settings.get("DenyAccounts", "")
        names = {name.lower() for name in (denied if denied else allowed).split(",")}
        return account.lower() in names if denied else "all" not in names and account.lower() not in names


@dataclass(frozen=True)
class Limit:
    """What a job may not exceed."""

    of: str
    """The association or QOS that sets it."""
    whose: str
    """What it counts: a job, a user's jobs, all jobs."""
    what: str
    """``minutes``, ``jobs`` (that wait or run) or a trackable resource."""
    most: float


@dataclass(frozen=True)
class Level:
    """An association or a QOS that a job runs under, and SLURM's own words of what it allows."""

    name: str
    row: Mapping[str, str]

    def limits(self) -> Iterator[Limit]:
        """Those that it sets."""
        for column, (whose, what) in COLUMNS.items():
            told = self.row.get(column, "")
            if what == "minutes":
                found = {what: minutes_of(told)}
            else:
                found = {what: number(told)} if what else dict(tres_of(told))
            yield from (Limit(self.name, whose, each, most) for each, most in found.items() if most is not None)


COLUMNS = {
    "maxwall": ("a job", "minutes"),
    "maxtres": ("a job", ""),
    "maxtrespu": ("a user", ""),
    "grptres": ("all its jobs", ""),
    "maxsubmit": ("a user", "jobs"),
    "maxsubmitpu": ("a user", "jobs"),
    "grpsubmit": ("all its jobs", "jobs"),
}
"""Column of an association or a QOS -> whose limit it is, and of what; empty: of trackable resources."""

ASSOCIATION = ("account", "partition", "defaultqos", "maxsubmit", "grpsubmit", "maxwall", "maxtres", "grptres")
QOS = ("name", "flags", "maxsubmitpu", "grpsubmit", "maxwall", "maxtres", "maxtrespu", "grptres")


class Cluster:
    """The limits of the cluster that this machine belongs to; each is asked for once."""

    def __init__(self) -> None:
        self._partitions: dict[str, Partition | None] = {}
        self._rows: dict[str, list[dict[str, str]] | None] = {}

    @functools.cached_property
    def enforced(self) -> bool | None:
        """Whether jobs are held to the limits of accounts; null where the cluster does not say."""
        config = output_of("scontrol", "show", "config") or ""
        told = re.search(r"^AccountingStorageEnforce\s*=\s*(\S*)", config, re.MULTILINE)
        return None if told is None else bool({"limits", "safe", "all"} & set(told[1].lower().split(",")))

    def partition(self, name: str) -> Partition | None:
        """A partition by its name; null where scontrol or sinfo does not tell of it."""
        if name not in self._partitions:
            self._partitions[name] = _partition(name)
        return self._partitions[name]

    def accounting(self, what: str, columns: tuple[str, ...]) -> list[dict[str, str]] | None:
        """The rows that sacctmgr shows; null where it does not answer, or not with these columns."""
        if what not in self._rows:
            self._rows[what] = _accounting(what, columns)
        return self._rows[what]

    def levels_of(self, request: Request) -> list[list[Level]] | None:
        """What limits a job, the first level that sets a limit before the others: partition's QOS, job's, association.

        A level has several members where it cannot be told which is the job's. Null where accounting does not tell.
        The order is that of https://slurm.schedmd.com/resource_limits.html; ``OverPartQOS`` changes it.
        """
        associations = self.accounting("assoc", ASSOCIATION)
        if associations is None:
            return None
        own = _own(associations, request)
        of_job = {request.qos} if request.qos else {row["defaultqos"] for row in own if row["defaultqos"]}
        place = self.partition(request.partition)
        of_place = {place.settings.get("QoS", "")} - {"", "N/A"} if place else set()
        rows = self.accounting("qos", QOS) if of_job | of_place else []
        if rows is None:
            return None
        named = [[row for row in rows if row["name"] in names] for names in (of_place, of_job)]
        if any("overpartqos" in row["flags"].lower() for row in named[1]):
            named.reverse()
        levels = [[Level(f"QOS {row['name']}", row) for row in each] for each in named]
        return [each for each in (*levels, [Level(_name(row), row) for row in own]) if each]

    def limits_of(self, request: Request) -> list[Limit] | None:
        """The limits of account and QOS that hold for a job; null where accounting does not tell them.

        Of each, the first level that sets it; of several members of a level, the smallest.
        """
        levels = self.levels_of(request)
        if levels is None:
            return None
        found: dict[tuple[str, str], Limit] = {}
        for level in levels:
            set_here: dict[tuple[str, str], Limit] = {}
            for limit in (limit for member in level for limit in member.limits()):
                key = limit.whose, limit.what
                set_here[key] = min(limit, set_here.get(key, limit), key=lambda each: each.most)
            found = {**set_here, **found}
        return list(found.values())


def _own(associations: Sequence[Mapping[str, str]], request: Request) -> list[Mapping[str, str]]:
    """The associations that a job may run under: that of its partition comes before that of the whole account."""
    named = request.account.lower()
    of_account = [row for row in associations if not named or row["account"].lower() == named]
    special = {row["account"] for row in of_account if row["partition"] == request.partition}
    return [row for row in of_account if row["partition"] == (request.partition if row["account"] in special else "")]


def _name(association: Mapping[str, str]) -> str:
    """What an association is called."""
    where = f" in {association['partition']}" if association["partition"] else ""
    return f"account {association['account']}{where}"


def _partition(name: str) -> Partition | None:
    """A partition by its name; null where scontrol or sinfo does not tell of it."""
    told = output_of("scontrol", "--oneliner", "show", "partition", name)
    listing = output_of("sinfo", "--noheader", "--Node", "--partition", name, "--format", "%N|%c|%m|%G|%T")
    if told is None or f"PartitionName={name}" not in told or listing is None:
        return None
    settings = dict(re.findall(r"(\w+)=(\S*)", told))
    nodes = []
    for line in listing.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 5:
            return None
        _, cpus, memory, gres, state = fields
        usable = not state.lower().startswith(UNUSABLE)
        nodes.append(Node(int(number(cpus.rstrip("+")) or 0), number(memory.rstrip("+")) or 0, gpus_of(gres), usable))
    return Partition(name, settings, tuple(nodes))


def _accounting(what: str, columns: tuple[str, ...]) -> list[dict[str, str]] | None:
    who = [f"user={getpass.getuser()}"] if what == "assoc" else []
    listing = output_of("sacctmgr", "--noheader", "--parsable2", "show", what, *who, f"format={','.join(columns)}")
    rows = [line.split("|") for line in (listing or "").splitlines() if line.strip()]
    if not rows or any(len(row) != len(columns) for row in rows):
        return None
    return [dict(zip(columns, row, strict=True)) for row in rows]


def exceeded(request: Request, limit: Limit) -> bool:
    """Whether a single job is beyond a limit of its time or its resources."""
    if limit.what == "minutes":
        return (request.minutes or 0.0) > limit.most
    return request.tres().get(limit.what, 0.0) > limit.most
