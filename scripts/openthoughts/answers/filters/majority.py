"""Keep the answers that agree with the most frequent final answer of their question (all its occurrences)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class Majority(AnswerFilter):
    """Those that give the majority's answer to their question."""

    ties: Literal["first", "drop"] = Field(
        "first", description="What happens to questions with several equally frequent answers."
    )
    min_agreement: float = Field(0.0, description="Least share of the answers that agree with the majority's.")

    needs: ClassVar[Literal["measured", "assessed"] | None] = "measured"

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """What was measured of the answer and of the vote."""
        import polars as pl

        columns = ("answer", "in_majority", "majority_answer", "agreement", "ties")
        return answers.select(*KEYS, *(pl.col(f"measured_{name}").alias(name) for name in columns))

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Drop answers that are unreadable, not the majority's, or of too small a majority."""
        import polars as pl

        answer, inside = pl.col("answer"), pl.col("in_majority")
        tie = pl.concat_str(pl.lit("tie of "), pl.col("ties"), pl.lit(" answers"))
        reason = (
            pl.when(answer.is_null())
            .then(pl.lit("no final answer"))
            .when((pl.col("ties") > 1) & pl.lit(self.ties == "drop"))
            .then(tie)
            .when(inside.is_null())
            .then(pl.concat_str(pl.lit("not known whether it is the majority answer: "), answer).str.head(200))
            .when(~inside)
            .then(pl.concat_str(pl.lit("not the majority answer: "), answer).str.head(200))
            .when(pl.col("agreement") < self.min_agreement)
            .then(pl.lit(f"agreement below {self.min_agreement:g}"))
        )
        return measured.select(*KEYS, reason=reason)
