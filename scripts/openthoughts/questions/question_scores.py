"""Labels of questions that are computed from the questions alone. To add one, enter a function in ``SCORES``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

Score = Callable[[pl.DataFrame], pl.Series]
"""From questions (columns ``question_id``, ``question`` and ``metadata``, JSON) to a number each, null where none."""


def question_length(questions: pl.DataFrame) -> pl.Series:
    """Characters of the question."""
    return questions["question"].str.len_chars()


SCORES: Mapping[str, Score] = {"question_length": question_length}
"""Every such label by its name in the configuration."""
