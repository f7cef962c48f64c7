"""Keep the answers whose prose is in one language, and those with too little prose to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class Language(AnswerFilter):
    """Those whose prose, code and formulas apart, is in this language."""

    language: str = Field("en", description="Code of the language, such as 'en'.")
    min_letters: PositiveInt = Field(40, description="Fewest letters of prose from which the language is read.")

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The language found (null: too little prose)."""
        import polars as pl

        from openthoughts.answers.language import languages

        found = languages(answers["text"].to_list(), self.min_letters)
        return answers.select(KEYS).with_columns(found=pl.Series(found, dtype=pl.String))

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Drop other languages."""
        import polars as pl

        other = pl.col("found").is_not_null() & (pl.col("found") != self.language)
        reason = pl.concat_str(pl.lit("language "), pl.col("found"))
        return measured.select(*KEYS, reason=pl.when(other).then(reason))
