"""Keep the answers whose measured columns have the wanted values, or lie in the wanted ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from openthoughts.answers.filters import KEYS, AnswerFilter
from openthoughts.base.options import did_you_mean

if TYPE_CHECKING:
    import polars as pl

COLUMNS = (
    "agreement", "ties", "pass_rate", "difficulty_from_answers", "truncated", "in_majority", "correct",
    "prompt_tokens", "completion_tokens",
)  # fmt: skip
"""What the filter can look at, of MEASURES."""


class Columns(AnswerFilter):
    """Those whose measured columns lie in ranges."""

    where: Any = Field(None, description="Column -> the value wanted, or a range [least, most], null for an open end.")
    nulls: Literal["drop", "keep"] = Field("drop", description="What happens to answers without a value.")

    needs: ClassVar[Literal["measured", "assessed"] | None] = "measured"
    wanted: ClassVar[tuple[str, ...]] = ("where",)

    @field_validator("where")
    @classmethod
    def _conditions(cls, where: Any) -> Any:
        """Raise ``ValueError`` unless columns are mapped to a value each, or to the two ends of a range."""
        if not isinstance(where, Mapping) or not where:
            raise ValueError(f"{where!r} is not a mapping: give conditions, such as {{agreement: [0.5, 1]}}")
        for name, condition in where.items():
            if name not in COLUMNS:
                raise ValueError(f"there is no column {name!r}{did_you_mean(name, COLUMNS)}")
            ends = condition if isinstance(condition, list | tuple) else [condition, condition]
            if len(ends) != 2 or any(isinstance(end, str) for end in ends) or ends == [None, None]:
                raise ValueError(f"{condition!r} is asked of {name}: give a value, or a range [least, most]")
        return where

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The columns of ``where``."""
        import polars as pl

        return answers.select(*KEYS, *(pl.col(f"measured_{name}").alias(name) for name in self.where))

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Drop those outside, with the first column that is."""
        import polars as pl

        reasons = []
        for name, condition in self.where.items():
            value = pl.col(name)
            least, most = condition if isinstance(condition, list | tuple) else (condition, condition)
            fits = pl.lit(True) if least is None else value >= least
            fits = fits if most is None else fits & (value <= most)
            missing = pl.lit(f"no {name}") if self.nulls == "drop" else pl.lit(None, pl.String)
            found = pl.concat_str(pl.lit(f"{name} "), value.cast(pl.String))
            reasons.append(pl.when(value.is_null()).then(missing).when(~fits).then(found))
        return measured.select(*KEYS, reason=pl.coalesce(reasons))
