"""Whether the cluster takes what the plan's jobs will ask for: each distinct allocation, at its first and last attempt.

``sbatch --test-only`` says whether a job could run, but takes times beyond a partition's limit, with which a job waits
for ever; so the limits of partition, nodes, account and QOS are compared too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openthoughts.costs.preflight import limits
from openthoughts.costs.preflight.checks import Check, said_by, skipped
from openthoughts.costs.preflight.requests import Request, gigabytes, hours, request

MOST_NAMES = 3
"""Rules that an allocation is called by."""

SETTING = "in `set-resources:` of the profile"


@dataclass(frozen=True)
class Allocation:
    """What jobs of some rules ask for at their first attempt and at their last."""

    rules: Mapping[str, int]
    """Rule -> number of its jobs."""
    requests: Sequence[Request]

    @property
    def jobs(self) -> int:
        """How many jobs of it are still to be made."""
        return sum(self.rules.values())

    @property
    def subject(self) -> str:
        """What the allocation is called in the table."""
        names = list(self.rules)
        more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        return f"jobs of {', '.join([*names[:MOST_NAMES], *more])}"

    @property
    def rule(self) -> str:
        """The rule that a remedy is written for."""
        return next(iter(self.rules)) if len(self.rules) == 1 else "RULE"

    def describe(self) -> str:
        """What is asked for, at the last attempt too where that is something else."""
        first, last = self.requests[0], self.requests[-1]
        more = f"; attempt {last.attempt}: {last.describe()}" if last.describe() != first.describe() else ""
        return f"{first.partition}: {first.describe()}{more}"

    def growing(self, resource: str, most: float, value: float) -> str:
        """The line of a profile that keeps a resource below a limit at every attempt."""
        bound = f"min({most:.0f}, {value:.0f} * attempt)" if value < most else f"{most:.0f}"
        return f"{self.rule}: {{{resource}: {bound}}}"


def read_allocations(record: Mapping[str, Any]) -> list[Allocation]:
    """The allocations that the workflow wrote down."""
    return [
        Allocation(each["rules"], [request(attempt, words) for attempt, words in each["attempts"]])
        for each in record["allocations"]
    ]


def allocation_checks(record: Mapping[str, Any]) -> Iterator[Check]:
    """A line for each distinct allocation, and one for the jobs that are submitted at once."""
    allocations, cluster = read_allocations(record), limits.Cluster()
    for rule, reason in record["unknown"].items():
        yield skipped(f"jobs of {rule}", f"what they ask for cannot be told yet: {reason}")
    for rule in record["reads_input"]:
        yield skipped(f"what {rule} asks for by its input", "the input is not read: this is computed as if it had none")
    if not allocations:
        yield skipped("allocations", "no job of this plan is still to be submitted to SLURM")
        return
    for allocation in allocations:
        yield from _checks(allocation, cluster)
    yield from submit_checks(allocations, record["jobs"], cluster)


def _checks(allocation: Allocation, cluster: limits.Cluster) -> Iterator[Check]:
    name = allocation.requests[0].partition
    place = cluster.partition(name)
    if place is None:
        yield skipped(f"limits of {name}", "scontrol and sinfo do not tell them")
    refused: dict[str, list[str]] = {}
    problems: dict[str, str] = {}
    for each in allocation.requests:
        problems.update(_beyond(allocation, each, place) if place else ())
        problems.update(_beyond_account(allocation, place.given(each) if place else each, cluster))
        said = said_by("sbatch", "--test-only", *each.words, "--wrap", "true")
        if said is None:
            yield skipped("sbatch --test-only", "sbatch does not answer")
        elif said.status:
            refused.setdefault(_reason(said.errors or said.output), []).append(str(each.attempt))
    found = [f"sbatch refuses attempt {' and '.join(attempts)} ({reason})" for reason, attempts in refused.items()]
    remedies = list(dict.fromkeys(problems.values())) or [f"change what {allocation.rule} asks for {SETTING}"]
    if problems or found:
        yield Check(
            allocation.subject, f"{allocation.describe()}: {'; '.join([*problems, *found])}", "; ".join(remedies)
        )
    else:
        yield Check(allocation.subject, allocation.describe())


def _reason(said: str) -> str:
    """Why sbatch refused, in its words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "it says nothing"
    return last.removeprefix("sbatch: ").removeprefix("error: ").removeprefix("allocation failure: ")


def _beyond(allocation: Allocation, asked: Request, place: limits.Partition) -> Iterator[tuple[str, str]]:
    """What of a request a partition does not have or allow, each with what to do."""
    first = allocation.requests[0]
    which = f"attempt {asked.attempt}" if asked.attempt > 1 else "it"
    longest = place.minutes
    if longest is not None and (asked.minutes is None or asked.minutes > longest):
        line = allocation.growing("runtime", longest, first.minutes or longest)
        yield (
            f"{which} asks for {hours(asked.minutes)}, {place.name} allows {hours(longest)}",
            f"write `{line}` {SETTING}, or name a partition of longer jobs",
        )
    if place.refuses_account(asked.account):
        yield f"{place.name} is not for account {asked.account or '(none)'}", "name another account or partition"
    if place.most_nodes is not None and asked.nodes > place.most_nodes:
        yield f"{place.name} allows {place.most_nodes:g} nodes a job", "set `nodes` of the training to that at most"
    if place.most_cpus is not None and asked.cpus > place.most_cpus:
        yield (
            f"{place.name} allows {place.most_cpus:g} cores a node",
            f"set `set-threads: {{{allocation.rule}: {place.most_cpus:g}}}` in the profile",
        )
    memory, told = place.most_memory, ""
    if memory is not None and asked.memory > memory:
        told = f"{place.name} allows {gigabytes(memory)}"
    given, each, cores = place.given(asked), place.memory_of_a_core, place.cores_of_a_node
    if each and asked.cpus <= cores < given.cpus:
        memory, given = min(each * cores, memory or math.inf), asked
        told = told or (
            f"for which {place.name} gives a core for each {gigabytes(each)}, and {cores:g} cores a node at most"
        )
    if told and memory is not None:
        yield (
            f"{which} asks for {gigabytes(asked.memory)} a node, {told}",
            f"write `{allocation.growing('mem_mb', memory, first.memory)}` {SETTING}",
        )
    yield from _no_node(allocation, given, place)


def _no_node(allocation: Allocation, asked: Request, place: limits.Partition) -> Iterator[tuple[str, str]]:
    """Why too few nodes of a partition have what a request asks of each."""
    fitting = [node for node in place.nodes if node.holds(asked)]
    if len(fitting) >= asked.nodes:
        usable = sum(node.usable for node in fitting)
        if usable < asked.nodes:
            yield (
                f"{usable} of the {len(fitting)} nodes that have it take jobs now, {asked.nodes} are needed",
                "wait until they are up, or name another partition",
            )
        return
    which = f"attempt {asked.attempt}" if asked.attempt > 1 else "it"
    gpus = [node.gpus.get(asked.gpu_type, 0) if asked.gpu_type else sum(node.gpus.values()) for node in place.nodes]
    cpus, memory = max((node.cpus for node in place.nodes), default=0), max((n.memory for n in place.nodes), default=0)
    told = False
    if asked.gpus > max(gpus, default=0):
        told = True
        yield (
            f"{which} asks for {asked.gpus} {asked.gpu_type or 'GPU'} a node, nodes of {place.name} have"
            f" {max(gpus, default=0)} at most",
            "lower `serving: {tensor_parallel, data_parallel}` of the model, or `gpus` of the training",
        )
    if asked.cpus > cpus:
        told = True
        yield (
            f"{which} asks for {asked.cpus} cores a node, nodes of {place.name} have {cpus} at most",
            f"set `set-threads: {{{allocation.rule}: {cpus}}}` in the profile",
        )
    if asked.memory > memory:
        told = True
        line = allocation.growing("mem_mb", memory, allocation.requests[0].memory)
        yield (
            f"{which} asks for {gigabytes(asked.memory)} a node, nodes of {place.name} have"
            f" {gigabytes(memory)} at most",
            f"write `{line}` {SETTING}",
        )
    if not told:
        yield (
            f"{len(fitting)} nodes of {place.name} have that, {asked.nodes} are needed",
            "ask for fewer nodes, or name another partition",
        )


def _beyond_account(allocation: Allocation, asked: Request, cluster: limits.Cluster) -> Iterator[tuple[str, str]]:
    """What of a request account or QOS do not allow, each with what to do."""
    if cluster.enforced is False:
        return
    for limit in cluster.limits_of(asked) or ():
        if not limits.exceeded(asked, limit):
            continue
        if limit.what == "minutes":
            line = allocation.growing("runtime", limit.most, allocation.requests[0].minutes or limit.most)
            yield (
                f"attempt {asked.attempt} asks for {hours(asked.minutes)}, {limit.of} allows {hours(limit.most)}",
                f"write `{line}` {SETTING}, or name a QOS of longer jobs",
            )
        else:
            yield (
                f"attempt {asked.attempt} asks for {asked.tres()[limit.what]:g} {limit.what},"
                f" {limit.of} for {limit.whose} allows {limit.most:g}",
                "ask for less, or name another QOS",
            )


def submit_checks(allocations: Sequence[Allocation], jobs: int | None, cluster: limits.Cluster) -> Iterator[Check]:
    """Whether as many jobs may be submitted at once as the profile says (``jobs``); each limit counts its own."""
    subject = "limits of account and QOS"
    if cluster.enforced is False:
        yield Check(subject, "the cluster does not enforce any")
        return
    planned: dict[str, int] = {}
    bounds: dict[str, float] = {}
    for allocation in allocations:
        asked = allocation.requests[0]
        levels, told = cluster.levels_of(asked), cluster.limits_of(asked)
        if levels is None or told is None:
            yield skipped(subject, "sacctmgr does not tell them")
            return
        for name in dict.fromkeys(member.name for level in levels for member in level):
            planned[name] = planned.get(name, 0) + allocation.jobs
        for limit in told:
            if limit.what == "jobs":
                bounds[limit.of] = min(limit.most, bounds.get(limit.of, limit.most))
    everything = sum(allocation.jobs for allocation in allocations)
    at_once = {of: min(count, jobs or count) for of, count in planned.items()}
    below = {of: most for of, most in bounds.items() if at_once[of] > most}
    for of, most in below.items():
        others = " (it bounds the other jobs, too)" if planned[of] < everything else ""
        yield Check(
            f"jobs at once of {of}",
            f"up to {at_once[of]:,} are submitted at once, {most:,.0f} are allowed",
            f"write `jobs: {most:.0f}` in the profile{others}",
        )
    if not below:
        names = [f"{of} ({bounds[of]:,.0f} jobs)" if of in bounds else of for of in planned]
        most_jobs = min(everything, jobs or everything)
        yield Check(subject, f"{', '.join(names) or 'none is set'}; up to {most_jobs:,} jobs are submitted at once")
    yield skipped("limits of parent accounts", "sacctmgr is asked for your own associations only")
