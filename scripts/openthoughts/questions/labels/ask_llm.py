"""How much a model thinks that the question is worth training on."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from openthoughts.inference.structured import Form
from openthoughts.questions.labels import Rated


class Worth(Form):
    """How much a question is worth training on."""

    response: float = Field(ge=1, le=100)
    reasoning: str = ""


class AskLlm(Rated):
    """1 to 100, by a model."""

    form: ClassVar[type[Form]] = Worth
    value: ClassVar[str] = "response"
