"""Characters of the question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openthoughts.questions.labels import LabelMethod

if TYPE_CHECKING:
    import polars as pl


class QuestionLength(LabelMethod):
    """Characters of the question."""

    @classmethod
    def score(cls, questions: pl.DataFrame) -> pl.Series:
        """Count them."""
        return questions["question"].str.len_chars()
