"""A model judges the answer by the rubric of a prompt: its verdict is asked for beforehand, and read here."""

from __future__ import annotations

from typing import ClassVar

from openthoughts.base.reasoning import after_reasoning
from openthoughts.grading.graders import Grader
from openthoughts.grading.item import Item


class Judge(Grader):
    """A model finds that the answer passes."""

    asks_judge: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("openthoughts.grading.judge",)

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """What the judge said, and 1 where the answer passes, else 0; null where there was no answer to judge.

        Raises ``ValueError`` where the judge was asked and its verdict is missing or cannot be read: the score is
        unknown.
        """
        from openthoughts.grading.judge import read_verdict

        if not (after_reasoning(response) or "").strip():
            return None, None
        passes = None if item.judgement is None else read_verdict(item.judgement)
        if passes is None:
            raise ValueError("the judge gave no verdict that can be read")
        return str(item.judgement)[:2000], float(passes)
