"""What was asked for, read back: every wanted row is there, and something could be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.streams import read_batches
from openthoughts.base.tables import COMPLETIONS


def completion_rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The rows of tables of completions, one after the other, not held."""
    for path in paths:
        for batch in read_batches(path, COMPLETIONS):
            yield from batch.iter_rows(named=True)


def matched(wanted: pl.DataFrame, found: pl.DataFrame, lacking: str) -> pl.DataFrame:
    """What was found for each wanted row, by all columns of ``wanted`` and in its order.

    Raises ``UserError`` where some is missing: how many, then ``lacking``, which says of what and what to do.
    """
    missing = wanted.join(found, on=wanted.columns, how="anti").height
    if missing:
        raise UserError(f"{missing} {lacking}")
    return wanted.join(found, on=wanted.columns, how="left", maintain_order="left")


def require_any(read: int, unread: pl.Series, what: str) -> None:
    """Raise ``UserError`` where nothing was read although there were answers; ``unread`` holds the reasons."""
    if unread.len() and not read:
        raise UserError(
            f"no {what} could be read out of {unread.len()} answers (the first: {unread[0]}): "
            "check the prompt, the model and max_tokens."
        )
