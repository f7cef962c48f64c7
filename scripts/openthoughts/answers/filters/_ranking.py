"""What the filters that rank answers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


def drawn_ranks(answers: pl.DataFrame, seed: int) -> pl.Series:
    """The rank of each answer (columns KEYS) in a draw of ``seed`` that grows with its size."""
    import polars as pl

    from openthoughts.base.hashing import keyed_hash

    ranks = [keyed_hash(seed, question, sample, "answer") for question, _, sample in answers.select(KEYS).iter_rows()]
    return pl.Series("rank", ranks, dtype=pl.UInt64)


def ranked(measured: pl.DataFrame, by: str, descending: bool = False) -> pl.DataFrame:
    """The columns KEYS, ``reason`` (null) and ``place``: in the order of column ``by``, nulls last."""
    import polars as pl

    order = [descending, *[False] * len(KEYS)]
    ordered = measured.sort(by, *KEYS, descending=order, nulls_last=True)
    return ordered.select(*KEYS, reason=pl.lit(None, pl.String), place=pl.int_range(pl.len()))


class ByLength(AnswerFilter):
    """Answers in the order of their length."""

    unit: Literal["tokens", "characters"] = Field("tokens", description="What the length is counted in.")

    wanted: ClassVar[tuple[str, ...]] = ("keep", "keep_per_question")

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The length as ``rank``."""
        import polars as pl

        units = {"tokens": pl.col("completion_tokens"), "characters": pl.col("text").str.len_chars()}
        return answers.select(*KEYS, rank=units[self.unit].cast(pl.Int64))
