"""Mathematics: the final answer equals the reference answer, by value."""

from __future__ import annotations

from typing import ClassVar

from openthoughts.grading import mathematics
from openthoughts.grading.graders import Grader
from openthoughts.grading.item import Item


class Math(Grader):
    """The final answer equals the reference, by value."""

    needs_reference: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = mathematics.PRELOAD

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """What was extracted (null: nothing), and 1 or 0 (null with it)."""
        return mathematics.grade(response, item)
