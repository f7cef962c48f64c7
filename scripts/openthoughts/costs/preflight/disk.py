"""The store, and the disk of every file system that a plan writes to."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openthoughts.base.environments import environments_folder
from openthoughts.costs.estimates import COPIES_OF_AN_ANSWER, estimate_stage
from openthoughts.costs.preflight.checks import Check, output_of, skipped
from openthoughts.plan.expectations import answer_tokens
from openthoughts.plan.register import FETCHED, KINDS
from openthoughts.plan.stages import Plan
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
    unknown: set[str] = field(default_factory=set)
    """What takes room of an unknown size."""


def places(plan: Plan, store: Path, unbuilt: Sequence[str]) -> list[Place]:
    """The folders that a plan writes to; what is made already takes nothing more.

    ``unbuilt``: the environments that are still to be built.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    results, answers = Place("results", Path(plan.results)), Place("store", store)
    cache, engines = Place("hub's cache", Path(HF_HUB_CACHE)), Place("environments", environments_folder())
    for stage in plan.index.values():
        if Path(plan.path(stage)).exists():
            continue
        each, made = estimate_stage(stage), KINDS[stage.kind].gigabytes(stage, answer_tokens) or 0.0
        asked = each.disk_gb - made
        answers.gigabytes += asked / COPIES_OF_AN_ANSWER
        results.gigabytes += made + each.scratch_gb + asked * (COPIES_OF_AN_ANSWER - 1) / COPIES_OF_AN_ANSWER
        for place in (results, answers):
            place.unknown |= each.unknown.get("disk_gb", set())
        entry = fetched_entry(stage.settings.get("entry", {}))
        if stage.kind in FETCHED and entry.get("connector") == "hub":
            cache.unknown.add(f"files of {stage.settings['name']}")
    engines.unknown |= {f"environment {name}" for name in unbuilt}
    return [
        place for place in (results, answers, cache, engines) if place.gigabytes or place.unknown or place is results
    ]


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
        if unasked:
            yield skipped(f"quota of {folder}", unasked)


def _disk_check(group: Sequence[Place], room: Mapping[str, float]) -> Check:
    """One file system: what is expected on it, and the room that it has."""
    subject = f"disk of {', '.join(place.name for place in group)}"
    needed = sum(place.gigabytes for place in group)
    parts = [f"{place.name} {place.gigabytes:,.0f}" for place in group if place.gigabytes]
    told = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    unknown = sorted(set().union(*(place.unknown for place in group)))
    least = "at least " if unknown else ""
    found = f"{least}{needed:,.0f} GB expected{told}, " + ", ".join(f"{gb:,.0f} GB {what}" for what, gb in room.items())
    if unknown:
        more = f" and {len(unknown) - MOST_NAMES} more" if len(unknown) > MOST_NAMES else ""
        found += f"; size unknown: {', '.join(unknown[:MOST_NAMES])}{more}"
    if any(needed > gb for gb in room.values()):
        paths = ", ".join(str(place.path) for place in group)
        return Check(subject, found, f"make room, or set `results:` or `store:` to a larger disk than that of {paths}")
    return Check(subject, found)


def _room(folder: Path) -> tuple[dict[str, float], str]:
    """Gigabytes that a file system has left, by what bounds them; and why the quota could not be asked, if so."""
    room = {"free": shutil.disk_usage(folder).free / 1e9}
    user = getpass.getuser()
    lustre = output_of("lfs", "quota", "-q", "-u", user, str(folder))
    told = lustre if lustre is not None else output_of("quota", "--no-wrap", f"--filesystem={folder}")
    if told is None:
        return room, "neither lfs nor quota answers"
    left = quota_left(told)
    if left is not None:
        room["left of your quota"] = left
    return room, ""


def quota_left(told: str) -> float | None:
    """Gigabytes left of a quota, by what ``quota`` or ``lfs quota`` says; null where there is no limit."""
    numbers = re.findall(r"(?:^|\n)\s*/?\S+\s+(\d+)\*?\s+(\d+)\s+(\d+)", told)
    left = []
    for used, soft, hard in numbers:
        limits = [int(limit) for limit in (soft, hard) if int(limit)]
        left += [(min(limits) - int(used)) * 1024 / 1e9] if limits else []
    return max(0.0, min(left)) if left else None
