"""Methods of labelling questions: what the questions of a source are ranked by. Each module of this folder is one.

To add a method, add a module: its name is the method's, and it defines one subclass of ``LabelMethod``. The plan reads
what every method needs, so nothing slow is imported at the top of these modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from openthoughts.base.register import Register
from openthoughts.inference.structured import Form, Unreadable, read_completion

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Label:
    """What an answer says: a value and why, or the reason why it says nothing."""

    value: float | None
    rationale: str | None = None
    error: str | None = None


class LabelMethod:
    """One way to label. It computes the label (``score``) unless it ``asks`` a model or ``learns``."""

    asks: ClassVar[Literal["answers", "embeddings"] | None] = None
    """What it asks a model for."""

    learns: ClassVar[bool] = False
    """Whether it learns from ``examples``: a classifier, or a direction of embeddings."""

    needs_prompt: ClassVar[bool] = False
    """Whether the bare question is no way to ask for the label."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Further settings of ``select`` that change the label."""

    tokens: ClassVar[tuple[int, int]] = (0, 0)
    """Tokens (in, out) of one label, for the estimate."""

    classical: ClassVar[bool] = False
    """Whether it did no better than a random choice in the paper."""

    form: ClassVar[type[Form] | None] = None
    """The structured answer that a model is asked for; null where the answer is free text."""

    @classmethod
    def score(cls, questions: pl.DataFrame) -> pl.Series:
        """A number per question, null where there is none; columns ``question_id``, ``question`` and ``metadata``."""
        raise NotImplementedError

    @classmethod
    def read(cls, completion: dict[str, Any], unit: str = "tokens") -> Label:
        """The label in one row of completions (columns of ``COMPLETIONS``) that has a text."""
        raise NotImplementedError


class Rated(LabelMethod):
    """A rating that a model gives in a structured answer, by the rubric of a prompt."""

    asks: ClassVar[Literal["answers", "embeddings"] | None] = "answers"
    needs_prompt: ClassVar[bool] = True
    tokens: ClassVar[tuple[int, int]] = (1500, 100)  # a rubric with the question; a short verdict

    form: ClassVar[type[Form]]
    value: ClassVar[str]
    """The key of the structured answer that is the label; ``reasoning`` says why."""

    @classmethod
    def read(cls, completion: dict[str, Any], unit: str = "tokens") -> Label:
        """The label in an answer that should be a JSON object."""
        answer = read_completion(cls.form, completion)
        if isinstance(answer, Unreadable):
            return Label(None, None, f"unparseable: {answer.detail}")
        return Label(float(getattr(answer, cls.value)), getattr(answer, "reasoning", "").strip() or None)


METHODS: Register[LabelMethod] = Register(__name__, LabelMethod)
"""Every method by its name in the configuration."""
