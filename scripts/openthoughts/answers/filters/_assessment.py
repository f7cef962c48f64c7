"""What the filters that read an assessment of every answer share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class Assessed(AnswerFilter):
    """Answers by their assessment, a value or why there is none."""

    unlabelled: Literal["drop", "keep"] = Field("drop", description="What happens to answers without an assessment.")

    needs: ClassVar[Literal["measured", "assessed"] | None] = "assessed"

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The assessment."""
        import polars as pl

        return answers.select(*KEYS, value=pl.col("assessed_value"), error=pl.col("assessed_error"))

    def unassessed(self) -> pl.Expr:
        """Reason for dropping an answer whose assessment failed; null where it is kept."""
        import polars as pl

        if self.unlabelled == "keep":
            return pl.lit(None, pl.String)
        return pl.concat_str(pl.lit("not assessed: "), pl.col("error").fill_null("no assessment")).str.head(200)
