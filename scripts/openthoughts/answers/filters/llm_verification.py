"""Keep the answers that a model found right."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from openthoughts.answers.filters import KEYS
from openthoughts.answers.filters._assessment import Assessed

if TYPE_CHECKING:
    import polars as pl


class LlmVerification(Assessed):
    """Those that a model finds right."""

    assessed_by: ClassVar[Literal["classifier", "model"] | None] = "model"

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Drop those found wrong."""
        import polars as pl

        value = pl.col("value")
        reason = pl.when(value.is_null()).then(self.unassessed()).when(value < 1).then(pl.lit("found wrong"))
        return measured.select(*KEYS, reason=reason)
