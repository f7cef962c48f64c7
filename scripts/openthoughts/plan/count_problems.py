"""Numbers of questions that a domain asks for and cannot have, as far as the configuration and the catalog tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from openthoughts.plan.catalog import Catalog
from openthoughts.plan.config import Settings
from openthoughts.plan.settings.questions import Thin
from openthoughts.plan.settings.recipe import Domain
from openthoughts.sources.entries import counted_rows, fetched_entry, written_steps
from openthoughts.sources.noted import noted_rows

WHOLE = Thin()
"""All of a source."""

UNITS = {"rows": "rows", "questions": "different questions"}

REMEDY = "take more sources, let questions be repeated (`fill: true`) or be fewer (`short: allowed`)"


def keep_problems(path: str, keep: float | None, sources: int) -> list[str]:
    """Why a number or fraction of questions cannot be kept of so many sources."""
    if keep is None or keep < 1:
        return []
    if keep != int(keep):
        return [f"{path}: {keep:g} is neither a whole number of questions nor a fraction below 1"]
    if keep < sources:
        return [f"{path}: {keep:g} questions cannot be shared by {sources} sources: keep more"]
    return []


def count_problems(where: str, block: Domain, catalog: Catalog) -> list[str]:
    """Why a domain cannot keep or draw as many questions as it says.

    Whatever stages drop on the way, a source has at most what its entry says; what no entry says is no problem.
    """
    if problems := keep_problems(f"{where}.select.keep", block.select.keep, len(block.mixed_sources())):
        return problems
    if block.fill or block.short == "allowed":
        return []
    counted = block.counted()
    unit = UNITS[counted]
    has = [most_of(known_entry(catalog, source), counted, block.thin) for source in block.mixed_sources()]
    shares = block.shares()
    few = [
        f"{source} has {most:,}"
        for source, most, share in zip(block.mixed_sources(), has, shares, strict=True)
        if most is not None and share is not None and share > most
    ]
    if few:
        of_each = f", {_told(shares)} of each source" if len(shares) > 1 else ""
        told = f"{_whole(block.select.keep):,} {unit} are to be kept{of_each}, and {', '.join(few)}"
        problems.append(f"{where}.select.keep: {told}: keep fewer, {REMEDY}")
    most_kept = _kept(shares, has)
    drawn = block.drawn_count()
    if drawn is not None and most_kept is not None and drawn > most_kept:
        key = "draw" if block.filter.candidates is None else "filter.candidates"
        problems.append(
            f"{where}.{key}: {drawn:,} {unit} are to be drawn of at most {most_kept:,} that are kept: draw fewer, keep "
            f"more, {REMEDY}"
        )
    return problems


def known_entry(catalog: Catalog, source: str) -> Settings:
    """The entry of a source, with the rows that can be counted or that the lock has noted; an estimate is no limit."""
    entry = catalog.sources.get(source, {})
    if not entry or "rows" in entry:
        return entry
    counted = counted_rows(entry, catalog.lock.get(noted_rows("source"), {}).get(source))
    return {**entry, "rows": counted.rows} if counted and counted.is_exact else entry


def most_of(entry: Settings, counted: str, thin: Thin = WHOLE) -> int | None:
    """The most rows or different questions that an entry can give, thinned or whole; null where it does not say."""
    read = fetched_entry(entry)
    known = [read.get("limit"), entry.get("rows"), entry.get("questions") if counted == "questions" else None]
    told: list[int] = [each for each in known if each is not None]
    if not told or "passage" in read:
        return None
    repeated_to: int = read.get("repeat_to", 0) if counted == "rows" else 0
    most = max(min(told), repeated_to)
    if counted == "questions":
        most = min(most, max(thin.least, math.ceil(thin.share * most)))
    return most * math.prod(len(steps) for steps in written_steps(entry))


def _kept(shares: Sequence[float | None], has: Sequence[int | None]) -> int | None:
    """The most questions that all sources of a domain keep; null where that is not known."""
    kept: list[int | None] = [_fewer(share, most) for share, most in zip(shares, has, strict=True)]
    return None if None in kept else sum(each for each in kept if each is not None)


def _fewer(share: float | None, most: int | None) -> int | None:
    if share is not None and share >= 1:
        return int(share) if most is None else min(int(share), most)
    return most if share is None or most is None else math.ceil(share * most)


def _whole(keep: Any) -> int:
    return int(keep or 0)


def _told(shares: Sequence[float | None]) -> str:
    """A share as it is told of all sources, whose shares differ by at most one."""
    return f"{_whole(max(share or 0 for share in shares)):,}"
