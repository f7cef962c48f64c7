"""Hosted models that a provider shuts down (``shutdown_date`` of the catalog)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from openthoughts.plan.register import asked
from openthoughts.plan.stages import Stage

NOTICE_DAYS = 60
"""Days before its shutdown from which a model is warned about."""


@dataclass(frozen=True)
class Shutdown:
    """The end of a hosted model."""

    name: str
    what: str
    is_over: bool
    """Whether the day has come."""


def shutdowns(stages: Iterable[Stage], today: date | None = None) -> Iterator[Shutdown]:
    """The asked models that are shut down, or will be within ``NOTICE_DAYS`` of a day (default: today)."""
    today = today or date.today()
    for model in asked(stages):
        written = model.execution.get("shutdown_date")
        if written is None:
            continue
        left = (date.fromisoformat(written) - today).days
        if left <= 0:
            what = f"its provider shut it down on {written} (`shutdown_date` in the catalog)"
            yield Shutdown(model.settings["name"], what, True)
        elif left <= NOTICE_DAYS:
            days = f"in {left} day{'s' if left > 1 else ''}"
            yield Shutdown(model.settings["name"], f"its provider shuts it down on {written}, {days}", False)


def shutdown_warnings(stages: Iterable[Stage], today: date | None = None) -> list[str]:
    """A sentence about each asked model that is shut down or soon will be."""
    return [f"{end.name}: {end.what}: name another model." for end in shutdowns(stages, today)]
