"""Examination questions of several types, as in JEEBench: one letter, several letters, an integer or a number.

The metadata's ``type`` is MCQ, MCQ(multiple), Integer or Numeric. The rules are those of the benchmark's authors (Arora
et al., arXiv 2305.15074): several letters score 0.25 each where none of them is wrong and some are missing, numbers may
differ by 0.01.
"""

from __future__ import annotations

import re
from typing import ClassVar

from openthoughts.grading.extraction import final_answer
from openthoughts.grading.graders import Grader
from openthoughts.grading.item import Item

TOLERANCE = 0.01
PARTIAL = 0.25
_LETTERS = re.compile(r"(?<![A-Za-z\\])([A-D](?:[\s,;&()]*(?:and\s+)?[A-D])*)(?![A-Za-z])")


class Exam(Grader):
    """The answer is right by the rules of its type."""

    needs_reference: ClassVar[bool] = True
    metadata: ClassVar[tuple[str, ...]] = ("type",)

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """What was answered (null: nothing could be read) and its score from 0 to 1 (null with it)."""
        kind = str(item.metadata["type"])
        stated = final_answer(response, last_number=not kind.startswith("MCQ"))
        if stated is None:
            return None, None
        if kind.startswith("MCQ"):
            chosen, right = letters(stated), set(item.expected) & set("ABCD")
            if not chosen:
                return None, None
            return "".join(sorted(chosen)), _score(chosen, right, kind == "MCQ(multiple)")
        value = _value(stated)
        return (None, None) if value is None else (stated, float(abs(value - float(item.expected)) <= TOLERANCE + 1e-9))


def letters(answer: str) -> set[str]:
    """The choices among A to D that an answer names (``A``, ``(A), (C)``, ``ACD``, ``A and C``)."""
    plain = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", answer)
    return {letter for match in _LETTERS.findall(plain) for letter in re.findall(r"[A-D]", match)}


def _score(chosen: set[str], right: set[str], several: bool) -> float:
    if chosen == right:
        return 1.0
    return PARTIAL * len(chosen) if several and chosen < right else 0.0


def _value(answer: str) -> float | None:
    from openthoughts.grading.mathematics import number

    exact = number(answer)
    if exact is not None:
        return float(exact)
    found = re.findall(r"[-+−]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", answer.replace(",", ""))
    return float(found[0].replace("−", "-")) if len(found) == 1 else None
