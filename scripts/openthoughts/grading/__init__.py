"""Graders: what a response answers, and whether that is right.

A grader is a function of a response and its ``Item`` that returns what it extracted (null: nothing could be) and a
score from 0 to 1. It runs in a worker process under a limit; one that gives up yields
*unknown*, which is not wrong. To add a grader, enter its module in ``GRADERS``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openthoughts.base.workers import Workers
from openthoughts.grading import mathematics
from openthoughts.grading.item import Item

GRADERS: Mapping[str, str] = {
    "math": "openthoughts.grading.mathematics",
    "choice": "openthoughts.grading.choice",
    "code": "openthoughts.grading.code",
    "exam": "openthoughts.grading.exam",
    "letter": "openthoughts.grading.letter",
    "judge": "openthoughts.grading.judge",
    "reasoning_gym": "openthoughts.grading.puzzles",
}
"""Grader -> the module whose ``grade(response, item)`` does it."""

PRELOAD: Mapping[str, tuple[str, ...]] = {
    "math": mathematics.PRELOAD,
    "choice": (),
    "code": (),
    "exam": (),
    "letter": (),
    "judge": ("openthoughts.questions.labels",),
    "reasoning_gym": ("sympy", "reasoning_gym"),
}
"""The slow imports of each grader, made once for all its workers."""

CPU_SECONDS = 10.0
"""Processor time allowed for grading one response."""


@dataclass(frozen=True)
class Task:
    """One response to grade: null text where there is none."""

    grader: str
    response: str | None
    reference: str | None
    metadata: str
    question: str = ""
    contained: bool = True
    judgement: str | None = None


@dataclass(frozen=True)
class Grade:
    """What was extracted, the score (null: unknown) and the outcome, as in the table GRADES."""

    answer: str | None
    score: float | None
    outcome: str


def grade_one(task: Task) -> Grade:
    """Grade one response (may not end, so it runs in a worker)."""
    if task.response is None:
        return Grade(None, 0.0, "failed")
    module: Any = importlib.import_module(GRADERS[task.grader])
    item = Item(task.question, task.reference, json.loads(task.metadata or "{}"), task.contained, task.judgement)
    answer, score = module.grade(task.response, item)
    if score is None:
        return Grade(answer, 0.0, "unparseable")
    return Grade(answer, score, "correct" if score >= 1.0 else "wrong")


def grade_all(tasks: Iterable[Task], graders: Iterable[str], workers: int = 0) -> Iterator[Grade]:
    """Grade the responses, in order; ``graders`` are those that occur."""
    preload = sorted({name for grader in graders for name in PRELOAD[grader]})
    with Workers(grade_one, workers, CPU_SECONDS, preload=preload) as pool:
        for outcome in pool.map(tasks):
            yield outcome.value if outcome.error is None else Grade(None, None, "unknown")
