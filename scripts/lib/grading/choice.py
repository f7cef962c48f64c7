"""Multiple-choice questions: the letter that a response chooses against the right one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.extraction import choice_letter


def grade(response: str, reference: str, metadata: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """The letter chosen (null: none could be read) and 1 or 0 (null with it).

    ``metadata["choices"]`` are the texts of the choices; ``reference`` is the right one's letter or text.
    """
    choices = [str(choice) for choice in metadata["choices"]]
    letter = choice_letter(response, choices)
    return letter, None if letter is None else float(letter == right_letter(reference, choices))


def right_letter(reference: str, choices: list[str]) -> str:
    """The letter of the right choice, from its letter or its text."""
    letters = [chr(ord("A") + index) for index in range(len(choices))]
    return reference if reference in letters else letters[choices.index(reference)]
