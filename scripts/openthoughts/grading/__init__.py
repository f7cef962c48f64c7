"""What a response answers, and whether that is right.

A grader (``openthoughts.grading.graders``) runs in a worker process under a limit; one that gives up yields *unknown*,
which is not wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from openthoughts.base.workers import Workers
from openthoughts.grading.graders import GRADERS
from openthoughts.grading.item import Item

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
    item = Item(task.question, task.reference, json.loads(task.metadata or "{}"), task.contained, task.judgement)
    answer, score = GRADERS[task.grader].grade(task.response, item)
    if score is None:
        return Grade(answer, 0.0, "unparseable")
    return Grade(answer, score, "correct" if score >= 1.0 else "wrong")


def grade_all(tasks: Iterable[Task], graders: Iterable[str], workers: int = 0) -> Iterator[Grade]:
    """Grade the responses, in order; ``graders`` are those that occur."""
    preload = sorted({name for grader in graders for name in GRADERS[grader].preload})
    with Workers(grade_one, workers, CPU_SECONDS, preload=preload) as pool:
        for outcome in pool.map(tasks):
            yield outcome.value if outcome.error is None else Grade(None, None, "unknown")
