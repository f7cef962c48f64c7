"""Multiple-choice questions: the letter that a response chooses against the right one."""

from __future__ import annotations

from typing import ClassVar

from openthoughts.grading.extraction import choice_letter
from openthoughts.grading.graders import Grader
from openthoughts.grading.item import Item


class Choice(Grader):
    """The letter chosen is the right one's."""

    needs_reference: ClassVar[bool] = True
    metadata: ClassVar[tuple[str, ...]] = ("choices",)

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """The letter chosen (null: none could be read) and 1 or 0 (null with it).

        The metadata's ``choices`` are their texts; the reference answer is the right one's letter or text.
        """
        choices = [str(choice) for choice in item.metadata["choices"]]
        letter = choice_letter(response, choices)
        return letter, None if letter is None else float(letter == right_letter(item.expected, choices))


def right_letter(reference: str, choices: list[str]) -> str:
    """The letter of the right choice, from its letter or its text."""
    letters = [chr(ord("A") + index) for index in range(len(choices))]
    return reference if reference in letters else letters[choices.index(reference)]
