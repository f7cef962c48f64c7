"""What a cluster allows: its partitions and their nodes, and the limits of account and QOS."""

from __future__ import annotations

import functools
import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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

    def most_memory(self, cpus: int) -> float | None:
        """Most memory (MB) of a job of so many cores on one node; null for no limit."""
        whole = megabytes(self.settings.get("MaxMemPerNode", ""))
        each = megabytes(self.settings.get("MaxMemPerCPU", ""))
        found = [most for most in (whole, each * cpus if each else None) if most]
        return min(found, default=None)

    def refuses_account(self, account: str) -> bool:
        """Whether the partition is not for an account."""
        allowed = self.settings.get("AllowAccounts", "ALL")
        denied = self.settings.get("DenyAccounts", "")
        names = {name.lower() for name in (denied if denied else allowed).split(",")}
        return account.lower() in names if denied else "all" not in names and account.lower() not in names


@dataclass(frozen=True)
class Limit:
    """What an association or a QOS allows; null and empty where it says nothing."""

    of: str
    submitted: float | None
    """Most jobs that wait or run at once."""
    minutes: float | None
    tres: tuple[tuple[str, Mapping[str, float]], ...]
    """Resources that one job may not exceed, and whose they are."""


ASSOCIATION = ("account", "partition", "defaultqos", "maxsubmit", "grpsubmit", "maxwall", "maxtres", "grptres")
QOS = ("name", "maxsubmitpu", "grpsubmit", "maxwall", "maxtres", "maxtrespu", "grptres")


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

    def limits_of(self, request: Request) -> list[Limit] | None:
        """The limits of the associations and QOS that a job runs under; null where accounting does not tell them."""
        associations = self.accounting("assoc", ASSOCIATION)
        if associations is None:
            return None
        named = request.account.lower()
        own = [
            row
            for row in associations
            if (not named or row["account"].lower() == named) and row["partition"] in ("", request.partition)
        ]
        columns = {"a job": "maxtres", "the account": "grptres"}
        found = [_limit(f"account {row['account']}", row, columns) for row in own]
        names = {request.qos} if request.qos else {row["defaultqos"] for row in own if row["defaultqos"]}
        place = self.partition(request.partition)
        if place and place.settings.get("QoS", "N/A") not in ("N/A", ""):
            names.add(place.settings["QoS"])
        columns = {"a job": "maxtres", "a user": "maxtrespu", "all its jobs": "grptres"}
        for row in self.accounting("qos", QOS) or ():
            if row["name"] in names:
                found.append(_limit(f"QOS {row['name']}", row, columns))
        return found


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


def _limit(of: str, row: Mapping[str, str], columns: Mapping[str, str]) -> Limit:
    """A limit of a row; ``columns``: whose resources a column holds."""
    submitted = [number(row.get(key)) for key in ("maxsubmit", "maxsubmitpu", "grpsubmit")]
    most = min((each for each in submitted if each is not None), default=None)
    return Limit(
        of, most, minutes_of(row["maxwall"]), tuple((whose, tres_of(row[key])) for whose, key in columns.items())
    )


def exceeded(request: Request, limit: Limit) -> Iterator[tuple[str, str, str]]:
    """What of a job is beyond a limit: what it asks, whose limit, and the limit, in words."""
    for whose, tres in limit.tres:
        for name, most in tres.items():
            asked = request.tres().get(name, 0.0)
            if asked > most:
                yield f"{asked:g} {name}", f"{limit.of} for {whose}", f"{most:g}"
