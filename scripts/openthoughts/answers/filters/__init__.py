"""Filters of answers: which answers to a question go into the dataset. Each module of this folder is one.

To add a filter, add a module: its name is the filter's, and it defines one subclass of ``AnswerFilter``. The plan reads
the options of every filter, so nothing slow is imported at the top of these modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from openthoughts.base.cli import UserError
from openthoughts.base.options import Options, checked, did_you_mean
from openthoughts.base.register import Register

if TYPE_CHECKING:
    import polars as pl

KEYS = ["question_id", "occurrence", "sample"]
"""What names an answer. ``occurrence`` is the row of the question that the sample belongs to."""


class AnswerFilter(Options):
    """One way to choose answers; its fields are its options in the configuration.

    A filter looks at each answer once (``measure``: a few small columns of every answer, computed on bounded batches)
    and then decides on these measurements alone (``decide``), so that answers of any number and length are filtered in
    bounded memory.
    """

    identity_as_written: ClassVar[bool] = True

    keep: PositiveInt | None = Field(None, description="Answers kept in all, of those that pass; null keeps all.")
    keep_per_question: PositiveInt | None = Field(
        None, description="Answers kept per drawn question, of those that pass; null keeps all."
    )
    seed: int = Field(42, description="Seed of the draw of what is kept, if the filter has no ranking.")

    needs: ClassVar[Literal["measured", "assessed"] | None] = None
    """A table of which each answer has the columns, with the table's name and ``_`` before theirs."""

    assessed_by: ClassVar[Literal["classifier", "model"] | None] = None
    """What assesses the answers: a classifier that learns from ``examples``, or a ``model`` that ``prompt`` asks."""

    wanted: ClassVar[tuple[str, ...]] = ()
    """Options of which at least one must be given."""

    @model_validator(mode="after")
    def _has_wanted(self) -> Self:
        if self.wanted and all(getattr(self, option) is None for option in self.wanted):
            raise ValueError(f"give {' or '.join(self.wanted)}")
        return self

    def measure(self, answers: pl.DataFrame) -> pl.DataFrame:
        """The columns KEYS and what ``decide`` needs of a batch of answers.

        ``answers``: the columns of COMPLETIONS, ``occurrence`` and ``reference_answer``, and those of ``needs``;
        ``text`` is never null.
        """
        return answers.select(KEYS)

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """KEYS, ``reason`` (null keeps the answer) and, where the filter ranks, ``place`` (0 is the best)."""
        raise NotImplementedError


FILTERS: Register[AnswerFilter] = Register(__name__, AnswerFilter)
"""Every answer filter by its name in the configuration."""


def configured_filter(name: str, options: Mapping[str, Any]) -> AnswerFilter:
    """The filter ``name`` with its options, those that are not given at their defaults.

    Raises ``UserError`` for an unknown filter or option, one that is missing, and a value that makes no sense.
    """
    if name not in FILTERS:
        raise UserError(f"there is no answer filter {name!r}{did_you_mean(name, FILTERS)}.")
    chosen, wrong = checked(FILTERS[name], options, "options")
    if chosen is None:
        raise UserError(f"the answer filter {name!r}: {'; '.join(wrong)}.")
    return chosen
