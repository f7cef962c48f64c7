"""Multiple-choice questions whose text names the choices itself: the letter given against the right one."""

from __future__ import annotations

from typing import ClassVar

from openthoughts.grading.extraction import choice_letter
from openthoughts.grading.graders import Grader
from openthoughts.grading.item import Item

UNKNOWN_CHOICES = [""] * 26


class Letter(Grader):
    """The letter given is the reference."""

    needs_reference: ClassVar[bool] = True

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """The letter given (null: none could be read) and 1 or 0 (null with it). The reference answer is a letter."""
        letter = choice_letter(response, UNKNOWN_CHOICES)
        return letter, None if letter is None else float(letter == item.expected.strip())
