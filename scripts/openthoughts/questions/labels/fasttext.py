"""Probability of being like the good examples, by a classifier (``openthoughts.questions.classifier``)."""

from __future__ import annotations

from typing import ClassVar

from openthoughts.questions.labels import LabelMethod


class FastText(LabelMethod):
    """Probability of the positive class."""

    learns: ClassVar[bool] = True
    classical: ClassVar[bool] = True
