"""The cluster that a profile names: partitions, GPU type, account, and the states of jobs."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from dataclasses import dataclass

from openthoughts.costs.preflight.checks import Check, output_of, skipped
from openthoughts.costs.preflight.requests import gpus_of

LONGEST_POLL = 180
"""Seconds between two looks at a job's state at most, which `squeue` must remember an ended job for."""


@dataclass(frozen=True)
class Cluster:
    """What a profile says of a cluster; empty where it says nothing."""

    account: str = ""
    cpu_partition: str = ""
    gpu_partition: str = ""
    gpu_type: str = ""
    network_partition: str = ""

    def partitions(self) -> dict[str, str]:
        """Role -> partition, of those that are named."""
        roles = {"CPU": self.cpu_partition, "GPU": self.gpu_partition, "network": self.network_partition}
        return {role: name for role, name in roles.items() if name}


def cluster_checks(cluster: Cluster) -> Iterator[Check]:
    """Whether partitions, GPU type and account exist, and whether jobs' states can be asked for."""
    listing = output_of("sinfo", "--noheader", "--format", "%R|%a|%l|%G")
    if listing is None:
        yield Check("SLURM", "sinfo does not answer", "run on a login node of the cluster")
        return
    rows = [line.strip().split("|") for line in listing.splitlines() if line.strip()]
    states = {name: state for name, state, _, _ in rows}
    limits = {name: limit for name, _, limit, _ in rows}
    for role, name in cluster.partitions().items():
        subject = f"{role} partition"
        if name not in states:
            known = ", ".join(sorted(states))
            yield Check(subject, f"there is no {name}", f"edit its line in the profile: {known}")
        elif states[name] != "up":
            yield Check(subject, f"{name} is {states[name]}", "wait until it is up, or name another one")
        else:
            yield Check(subject, f"{name}, jobs of up to {limits[name]}")
    gpus = {gpu for name, _, _, gres in rows if name == cluster.gpu_partition for gpu in gpus_of(gres) if gpu}
    if cluster.gpu_partition in states and cluster.gpu_type:
        known = ", ".join(sorted(gpus)) or "none"
        if cluster.gpu_type in gpus:
            yield Check("GPU type", f"{cluster.gpu_type} in {cluster.gpu_partition}")
        else:
            yield Check(
                "GPU type",
                f"no {cluster.gpu_type} in {cluster.gpu_partition}",
                f"edit its line in the profile: {known}",
            )
    yield account_check(cluster.account)
    yield status_check()


def account_check(account: str) -> Check:
    """Whether the user may bill the account, as far as SLURM's accounting tells."""
    listing = output_of(
        "sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}", "format=account"
    )
    known = sorted(set((listing or "").split()))
    if not known:
        if not account:
            return Check("account", "none, and the cluster keeps no accounts")
        return skipped("account", f"sacctmgr does not say whether you may use {account}")
    if not account:
        return Check("account", "the profile names none", f"name one in the profile: {', '.join(known)}")
    if account.lower() not in {name.lower() for name in known}:
        return Check("account", f"you have no account {account}", f"name one in the profile: {', '.join(known)}")
    return Check("account", account)


def status_check() -> Check:
    """Whether squeue answers, and remembers the end of a job for long enough."""
    if output_of("squeue", "--noheader", "--user", getpass.getuser()) is None:
        return Check("job states", "squeue does not answer", "ask the cluster's administrators")
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", output_of("scontrol", "show", "config") or "", re.MULTILINE)
    if age and int(age[1]) < LONGEST_POLL:
        return Check(
            "job states",
            f"squeue forgets an ended job after {age[1]} s",
            "set slurm-status-command: sacct in the profile, or the run may miss the end of jobs",
        )
    return Check("job states", "squeue answers")
