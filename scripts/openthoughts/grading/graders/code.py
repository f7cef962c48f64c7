"""Programs: every test of the problem passes in a sandbox (``openthoughts.grading.code`` says what tests there are)."""

from __future__ import annotations

from typing import ClassVar

from openthoughts.grading import code
from openthoughts.grading.graders import Grader
from openthoughts.grading.item import Item


class Code(Grader):
    """Every test passes."""

    runs_programs: ClassVar[bool] = True

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """The code (null: none) and whether it passes every test, 1 or 0 (null with it)."""
        return code.grade(response, item)
