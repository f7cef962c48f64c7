"""What can be found out before anything is booked: the cluster, the store, the disk, environments, keys, the lock.

Every check says in one sentence what is so, and where something is wrong, what to do. None submits a job or downloads
anything; only those of ``openthoughts.costs.trials`` ask a model.
"""

from __future__ import annotations

import getpass
import multiprocessing
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from openthoughts.base.cli import UserError
from openthoughts.base.environments import find
from openthoughts.costs.estimates import estimate, total
from openthoughts.plan.register import FETCHED, KINDS, inference
from openthoughts.plan.stages import Plan, Stage
from openthoughts.sources.entries import needs_pin

LONGEST_POLL = 180
"""Seconds between two looks at a job's state at most, which `squeue` must remember an ended job for."""

RACES = 200
"""Files that two processes race for."""

COMMAND_SECONDS = 20


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``remedy`` is empty where all is well."""

    subject: str
    found: str
    remedy: str = ""
    is_skipped: bool = False
    """Not looked at; ``found`` says why."""
    asked: str = ""
    """The model that was asked for it."""

    @property
    def word(self) -> str:
        """What the table says first: ok, skipped or problem."""
        return "skipped" if self.is_skipped else "ok" if self.ok else "problem"

    @property
    def ok(self) -> bool:
        """Whether nothing needs to be done."""
        return not self.remedy


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


def output_of(*command: str) -> str | None:
    """Standard output of a command of the cluster's; None where there is none, it fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


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
    gpus = {gpu for name, _, _, gres in rows if name == cluster.gpu_partition for gpu in gpu_types(gres)}
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


def gpu_types(gres: str) -> set[str]:
    """The types of GPUs in SLURM's words, such as ``gpu:a100:8(S:0-1),lscratch:900``."""
    return set(re.findall(r"gpu:([A-Za-z][\w.]*)", gres))


def account_check(account: str) -> Check:
    """Whether the user may bill the account, as far as SLURM's accounting tells."""
    listing = output_of(
        "sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}", "format=account"
    )
    known = sorted(set((listing or "").split()))
    if not known:
        if not account:
            return Check("account", "none, and the cluster keeps no accounts")
        return Check("account", f"{account}, which cannot be looked up: sacctmgr does not answer")
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


def store_check(store: Path) -> Check:
    """Whether exactly one of two processes wins a file on the store's file system, as leases and commits need."""
    subject = f"store {store}"
    folder = store / f".preflight-{uuid.uuid4().hex[:12]}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        return Check(subject, f"cannot be written ({error.strerror})", "choose a folder of yours (`store:`)")
    try:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            won = pool.starmap(race, [(str(folder), name) for name in ("a", "b")])
    except OSError as error:
        return Check(
            subject, f"has no hard links or renames ({error.strerror})", "choose a folder on another file system"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if sum(won) != RACES:
        return Check(
            subject,
            f"two processes won {sum(won)} of {RACES} races",
            "choose a folder on a file system with atomic links",
        )
    return Check(subject, "one winner of each race of two processes")


def race(folder: str, name: str) -> int:
    """Try to be the first to make each of ``RACES`` files, by rename and hard link; how often this process was."""
    won = 0
    for number in range(RACES):
        first, mine = (Path(folder) / f"{name}-{number}.{end}" for end in ("tmp", "mine"))
        first.write_text(name)
        first.rename(mine)
        try:
            os.link(mine, Path(folder) / f"won-{number}")
            won += 1
        except FileExistsError:
            pass
    return won


def disk_check(plan: Plan) -> Check:
    """Whether the disk of the results has room for what the plan expects."""
    needed = total(estimate(plan.index.values()).values()).disk_gb
    folder = Path(plan.results)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{needed:,.0f} GB expected, {free:,.0f} GB free"
    if needed > free:
        return Check(f"disk of {plan.results}", found, "make room, or set `results:` to a larger disk")
    return Check(f"disk of {plan.results}", found)


def environment_checks(plan: Plan, accelerator: str) -> Iterator[Check]:
    """Whether the engines that the plan needs are installed."""
    suffix = "" if accelerator == "cuda" else f"-{accelerator}"
    stages = plan.index.values()
    engines = ["vllm"] if any(model.settings["entry"].get("kind") != "api" for model in asked(stages)) else []
    engines += ["llamafactory"] if any(KINDS[stage.kind].trained_by for stage in stages) else []
    for engine in engines:
        name = f"{engine}{suffix}"
        try:
            place = find(name)
        except UserError as error:
            sentence, _, remedy = str(error).partition(": ")
            yield Check(f"environment {name}", sentence, remedy or "build it, or correct its variable")
            continue
        yield Check(f"environment {name}", str(place.bin or " ".join(place.prefix)))


def asked(stages: Iterable[Stage]) -> list[Stage]:
    """The models of the catalog that stages ask (a student counts as the model that it was trained from)."""
    found = []
    for stage in stages:
        if inference(stage):
            model = stage.input("model")
            found.append(model.input("model") if "model" in model.inputs else model)
    return list(dict.fromkeys(found))


def key_checks(plan: Plan, environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether the keys of the hosted models are in the environment."""
    variables: dict[str, list[str]] = {}
    for model in asked(plan.index.values()):
        variable = model.settings["entry"].get("api_key_variable")
        if variable:
            variables.setdefault(variable, []).append(model.settings["name"])
    for variable, models in sorted(variables.items()):
        subject = f"key of {', '.join(sorted(models))}"
        if environ.get(variable):
            yield Check(subject, f"{variable} is set")
        else:
            yield Check(subject, f"{variable} is not set", f"export {variable}=... in the shell that runs Snakemake")


def fetched_checks(plan: Plan) -> Iterator[Check]:
    """Whether what comes from the hub is pinned, and how much of what the plan uses is here already."""
    for kind, words in FETCHED.items():
        stages = [stage for stage in plan.index.values() if stage.kind == kind]
        if not stages:
            continue
        here = sum(Path(plan.path(stage)).exists() for stage in stages)
        loose = sorted(
            stage.settings["name"]
            for stage in stages
            if needs_pin(stage.settings["entry"]) and "pin" not in stage.settings
        )
        found = f"{here} of {len(stages)} are here, the others are fetched when they are needed"
        if loose:
            yield Check(words, f"not pinned: {', '.join(loose)}", "run snakemake lock")
        else:
            yield Check(words, found if here < len(stages) else f"all {here} are here")
