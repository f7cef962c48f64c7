"""Keep the longest answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openthoughts.answers.filters._ranking import ByLength, ranked

if TYPE_CHECKING:
    import polars as pl


class Longest(ByLength):
    """The longest answers."""

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """The longest first."""
        return ranked(measured, "rank", descending=True)
