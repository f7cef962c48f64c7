"""The store, and the disk of every file system that a plan writes to."""

from __future__ import annotations

import getpass
import grp
import multiprocessing
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openthoughts.base.environments import environments_folder
from openthoughts.costs.estimates import COPIES_OF_AN_ANSWER, estimate_stage
from openthoughts.costs.preflight.checks import Check, said_by, skipped
from openthoughts.plan.expectations import answer_tokens
from openthoughts.plan.register import FETCHED, KINDS, inference
from openthoughts.plan.shards import shard_path
from openthoughts.plan.stages import Plan, Stage
from openthoughts.sources.entries import fetched_entry

MOST_NAMES = 4
"""Things of unknown size that are named."""

RACES = 200
"""Files that two processes race for."""


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


@dataclass
class Place:
    """A folder that a plan writes to, and what it is expected to take there."""

    name: str
    path: Path
    gigabytes: float = 0.0
    scratch: list[float] = field(default_factory=list)
    """Gigabytes of the checkpoints of each training, which are free again after it."""
    unknown: set[str] = field(default_factory=set)
    """What takes room of an unknown size."""

    @property
    def needed(self) -> float:
        """Gigabytes that must be there at least: those that stay, and the checkpoints of the largest training."""
        return self.gigabytes + max(self.scratch, default=0.0)


def places(plan: Plan, store: Path, unbuilt: Sequence[str]) -> list[Place]:
    """The folders that a plan writes to; what is made already takes nothing more, shards that are made included.

    ``unbuilt``: the environments that are still to be built.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    results, answers = Place("results", Path(plan.results)), Place("store", store)
    cache, engines = Place("hub's cache", Path(HF_HUB_CACHE)), Place("environments", environments_folder())
    for stage in plan.index.values():
        if Path(plan.path(stage)).exists():
            continue
        each, made = estimate_stage(stage), KINDS[stage.kind].gigabytes(stage, answer_tokens) or 0.0
        copy = (each.disk_gb - made) / COPIES_OF_AN_ANSWER
        lacking = missing_share(plan, stage)
        answers.gigabytes += copy * lacking
        results.gigabytes += made + copy * (lacking + COPIES_OF_AN_ANSWER - 2)  # the shards, and what is made of them
        results.scratch += [each.scratch_gb] if each.scratch_gb else []
        for place in (results, answers):
            place.unknown |= each.unknown.get("disk_gb", set())
        entry = fetched_entry(stage.settings.get("entry", {}))
        if stage.kind in FETCHED and entry.get("connector") == "hub":
            cache.unknown.add(f"files of {stage.settings['name']}")
    engines.unknown |= {f"environment {name}" for name in unbuilt}
    return [place for place in (results, answers, cache, engines) if place.needed or place.unknown or place is results]


def missing_share(plan: Plan, stage: Stage) -> float:
    """The share of a stage's shards that are still to be made; 1 for a stage without shards."""
    asks = inference(stage)
    if asks is None or asks.folder is None:
        return 1.0
    shards: int = stage.execution["shards"]
    return sum(not Path(shard_path(plan, stage, shard)).exists() for shard in range(shards)) / shards


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def disk_checks(plan: Plan, store: Path, unbuilt: Sequence[str] = ()) -> Iterator[Check]:
    """Whether every file system that the plan writes to has room for what is expected there, by disk and quota."""
    by_device: dict[int, list[Place]] = {}
    for place in places(plan, store, unbuilt):
        by_device.setdefault(existing(place.path).stat().st_dev, []).append(place)
    for group in by_device.values():
        folder = existing(group[0].path)
        room, unasked = _room(folder)
        yield _disk_check(group, room)
        for quota, why in unasked.items():
            yield skipped(f"{quota} for {folder}", why)


def _disk_check(group: Sequence[Place], room: Mapping[str, float]) -> Check:
    """One file system: what is expected on it, and the room that it has."""
    subject = f"disk of {', '.join(place.name for place in group)}"
    needed = sum(place.needed for place in group)
    parts = [f"{place.name} {place.needed:,.0f}" for place in group if place.needed]
    told = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    unknown = sorted(set().union(*(place.unknown for place in group)))
    least = "at least " if unknown else ""
    found = f"{least}{needed:,.0f} GB expected{told}, " + ", ".join(f"{gb:,.0f} GB {what}" for what, gb in room.items())
    if unknown:
        more = f" and {len(unknown) - MOST_NAMES} more" if len(unknown) > MOST_NAMES else ""
        found += f"; size unknown: {', '.join(unknown[:MOST_NAMES])}{more}"
    scratch = [gb for place in group for gb in place.scratch]
    if len(scratch) > 1:
        found += (
            f"; {max(scratch):,.0f} GB of it are checkpoints of one training, and up to {max(scratch):,.0f} GB for each"
            " further training that runs at the same time"
        )
    if any(needed > gb for gb in room.values()):
        paths = ", ".join(str(place.path) for place in group)
        return Check(subject, found, f"make room, or set `results:` or `store:` to a larger disk than that of {paths}")
    return Check(subject, found)


def _room(folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Gigabytes that a file system has left, by what bounds them; and which quotas were not asked, each with why."""
    room = {"free": shutil.disk_usage(folder).free / 1e9}
    group, unasked = group_of(folder), {}
    for quota, flag, name in (("your quota", "-u", getpass.getuser()), (f"quota of group {group}", "-g", group)):
        told = _told("lfs", "quota", "-q", flag, name, str(folder))
        if told is None:
            told = _told("quota", "--no-wrap", flag, name, f"--filesystem={folder}")
        left = quota_left(told or "")
        if told is None:
            unasked[quota] = "neither lfs nor quota answers"
        elif left is not None:
            room[f"left of {quota}"] = left
    unasked["quota of a project"] = "it is not asked for"
    return room, unasked


def group_of(folder: Path) -> str:
    """The group that new files of a folder belong to: the folder's where it hands it down, else this process's."""
    there = folder.stat()
    number = there.st_gid if there.st_mode & stat.S_ISGID else os.getegid()
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _told(*command: str) -> str | None:
    """What a command says of a quota; null where there is none. ``quota`` fails, too, where a quota is exceeded."""
    said = said_by(*command)
    if said is None or (said.status and quota_left(said.output) is None):
        return None
    return said.output


def quota_left(told: str) -> float | None:
    """Gigabytes left of a quota, by what ``quota`` or ``lfs quota`` says; null where there is no limit."""
    numbers = re.findall(r"(?:^|\n)\s*/?\S+\s+(\d+)\*?\s+(\d+)\s+(\d+)", told)
    left = []
    for used, soft, hard in numbers:
        limits = [int(limit) for limit in (soft, hard) if int(limit)]
        left += [(min(limits) - int(used)) * 1024 / 1e9] if limits else []
    return max(0.0, min(left)) if left else None
