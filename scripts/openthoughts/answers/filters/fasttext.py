"""Keep the answers that a classifier finds most like the good examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from openthoughts.answers.filters import KEYS
from openthoughts.answers.filters._assessment import Assessed

if TYPE_CHECKING:
    import polars as pl


class FastText(Assessed):
    """Those that a classifier finds most like the positive examples."""

    at_least: float | None = Field(None, description="Least probability of being like the positive examples.")

    assessed_by: ClassVar[Literal["classifier", "model"] | None] = "classifier"
    wanted: ClassVar[tuple[str, ...]] = ("keep", "keep_per_question", "at_least")

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """The likeliest first; drop those below ``at_least``."""
        import polars as pl

        below = pl.concat_str(pl.lit("score "), pl.col("value").round(4).cast(pl.String))
        bar = -1.0 if self.at_least is None else self.at_least
        reason = pl.when(pl.col("value").is_null()).then(self.unassessed()).when(pl.col("value") < bar).then(below)
        ordered = measured.sort("value", *KEYS, descending=[True, *[False] * len(KEYS)], nulls_last=True)
        return ordered.select(*KEYS, reason=reason, place=pl.int_range(pl.len()))
