"""Keep the answers with Python code and with no other language's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class PythonOnly(AnswerFilter):
    """Those with Python code and with no other language's."""

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The languages of the fenced blocks of code."""
        import polars as pl

        fences = (
            pl.col("text")
            .str.extract_all(r"(?m)^[ \t]*```[ \t]*[A-Za-z0-9+#_-]+")
            .list.eval(pl.element().str.strip_chars(" \t`").str.to_lowercase())
        )
        return answers.select(*KEYS, languages=fences.list.unique().list.sort())

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Drop those without Python, and those with another language."""
        import polars as pl

        others = pl.col("languages").list.set_difference(["python", "python3", "py"]).list.sort()
        other = pl.concat_str(pl.lit("code in "), others.list.join(", "))
        none = pl.when(pl.col("languages").list.len() == 0).then(pl.lit("no Python code"))
        return measured.select(*KEYS, reason=pl.when(others.list.len() > 0).then(other).otherwise(none))
