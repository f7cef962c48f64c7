"""The question that a response answers, as a grader sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Item:
    """A question of a benchmark: its text, its reference answer (null: none), its metadata.

    ``judgement``: what a judge said of the response, for the grader that reads it (null: nothing).
    ``contained``: whether untrusted programs run in a sandbox (anything else is the user's explicit wish).
    """

    question: str
    reference: str | None
    metadata: Mapping[str, Any]
    contained: bool = True
    judgement: str | None = None

    @property
    def expected(self) -> str:
        """The reference answer of a grader that needs one; raises ``ValueError`` where there is none."""
        if self.reference is None:
            raise ValueError("the question has no reference answer")
        return self.reference
