"""Keep the answers that ended by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class Complete(AnswerFilter):
    """Those that ended by themselves, not at the token limit."""

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """Why the answer ended."""
        return answers.select(*KEYS, "finish_reason")

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Drop those that were cut."""
        import polars as pl

        cut = pl.col("finish_reason") == "length"
        return measured.select(*KEYS, reason=pl.when(cut).then(pl.lit("cut by the token limit")))
