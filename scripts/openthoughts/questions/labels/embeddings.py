"""Similarity to the good examples minus that to the bad ones (``openthoughts.questions.embeddings``)."""

from __future__ import annotations

from typing import ClassVar, Literal

from openthoughts.questions.labels import LabelMethod


class Embeddings(LabelMethod):
    """Mean similarity to the positive examples minus that to the negative ones."""

    asks: ClassVar[Literal["answers", "embeddings"] | None] = "embeddings"
    learns: ClassVar[bool] = True
    classical: ClassVar[bool] = True
