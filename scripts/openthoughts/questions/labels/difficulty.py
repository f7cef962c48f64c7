"""How hard a model finds the question, on the scale that the prompt describes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from openthoughts.inference.structured import Form
from openthoughts.questions.labels import Rated


class Difficulty(Form):
    """How hard a problem is, on the scale that the prompt describes."""

    difficulty: int = Field(ge=1, le=10)
    reasoning: str = ""


class ByDifficulty(Rated):
    """1 to 10, by a model."""

    form: ClassVar[type[Form]] = Difficulty
    value: ClassVar[str] = "difficulty"
