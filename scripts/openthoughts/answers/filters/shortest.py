"""Keep the shortest answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openthoughts.answers.filters._ranking import ByLength, ranked

if TYPE_CHECKING:
    import polars as pl


class Shortest(ByLength):
    """The shortest answers."""

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """The shortest first."""
        return ranked(measured, "rank")
