"""Keep the answers without a long paragraph."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class ShortParagraphs(AnswerFilter):
    """Those without a paragraph longer than this."""

    max_characters: PositiveInt | None = Field(None, description="Most characters of a paragraph.")

    wanted: ClassVar[tuple[str, ...]] = ("max_characters",)

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """Characters of the longest paragraph."""
        import polars as pl

        paragraphs = pl.col("text").str.replace_all(r"\n[ \t]*\n", "\n\n").str.split("\n\n")
        return answers.select(*KEYS, longest=paragraphs.list.eval(pl.element().str.len_chars()).list.max())

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Drop those with a longer one."""
        import polars as pl

        reason = pl.concat_str(pl.lit("a paragraph of "), pl.col("longest"), pl.lit(" characters"))
        return measured.select(*KEYS, reason=pl.when(pl.col("longest") > self.max_characters).then(reason))
