"""Keep every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class KeepAll(AnswerFilter):
    """Every answer."""

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Keep all."""
        import polars as pl

        return measured.select(*KEYS, reason=pl.lit(None, pl.String))
