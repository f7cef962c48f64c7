"""Keep a draw of the answers that grows with its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from openthoughts.answers.filters import KEYS, AnswerFilter
from openthoughts.answers.filters._ranking import drawn_ranks, ranked

if TYPE_CHECKING:
    import polars as pl


class Random(AnswerFilter):
    """A draw of answers."""

    wanted: ClassVar[tuple[str, ...]] = ("keep", "keep_per_question")

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The rank in the draw."""
        return answers.select(KEYS).with_columns(drawn_ranks(answers, self.seed))

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """The smallest ranks first."""
        return ranked(measured, "rank")
