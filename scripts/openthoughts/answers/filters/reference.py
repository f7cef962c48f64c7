"""Keep the answers whose final answer equals the reference answer of their question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from openthoughts.answers.filters import KEYS, AnswerFilter

if TYPE_CHECKING:
    import polars as pl


class Reference(AnswerFilter):
    """Those whose final answer equals the reference answer."""

    last_number: bool = Field(True, description="Whether the last number counts as the final answer if none is stated.")

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The final answer and the reference."""
        import polars as pl

        from openthoughts.grading.extraction import final_answer
        from openthoughts.grading.mathematics import normalized

        finals = (final_answer(text, last_number=self.last_number) for text in answers["text"])
        texts = [None if final is None else normalized(final) or None for final in finals]
        stated = pl.Series("answer", texts, dtype=pl.String)
        return answers.select(*KEYS, stated, reference=pl.col("reference_answer"))

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Compare the pairs, those that are not decided at a glance in worker processes."""
        import polars as pl

        from openthoughts.grading.mathematics import equalities, equality_workers, quick_equality

        pairs = list(measured.select("reference", "answer").iter_rows())
        quick = [None if None in pair else quick_equality(*pair) for pair in pairs]
        hard = sorted({pair for pair, equal in zip(pairs, quick, strict=True) if equal is None and None not in pair})
        with equality_workers() as workers:
            decided = dict(zip(hard, equalities(hard, workers), strict=True))
        reasons = [
            _against_reference(pair[0], pair[1], decided.get(pair) if equal is None else equal)
            for pair, equal in zip(pairs, quick, strict=True)
        ]
        return measured.select(KEYS).with_columns(reason=pl.Series(reasons, dtype=pl.String))


def _against_reference(reference: str | None, answer: str | None, equal: bool | None) -> str | None:
    if reference is None:
        return "no reference answer"
    if answer is None:
        return "no final answer"
    if equal is None:
        return f"not known whether {answer} equals the reference"[:200]
    return None if equal else f"not the reference answer: {answer}"[:200]
