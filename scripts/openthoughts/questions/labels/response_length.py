"""Length of a model's answer to the bare question."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from openthoughts.questions.labels import Label, LabelMethod

UNITS = ("tokens", "characters")
"""What a response's length is counted in."""


class ResponseLength(LabelMethod):
    """Length of the answer, in ``unit``."""

    asks: ClassVar[Literal["answers", "embeddings"] | None] = "answers"
    settings: ClassVar[tuple[str, ...]] = ("unit",)
    tokens: ClassVar[tuple[int, int]] = (150, 700)  # the bare question and its answer

    @classmethod
    def read(cls, completion: dict[str, Any], unit: str = "tokens") -> Label:
        """The length, in ``unit``."""
        if unit == "characters":
            return Label(float(len(completion["text"])))
        tokens = completion["completion_tokens"]
        return Label(None, None, "the server did not count tokens") if tokens is None else Label(float(tokens))
