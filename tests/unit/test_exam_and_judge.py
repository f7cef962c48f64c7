"""Graders of examination questions, of letters named in the question, and of judges' verdicts."""

from __future__ import annotations

import json

import pytest

from openthoughts.grading import Grade, Task, grade_one
from openthoughts.grading.graders.exam import letters
from openthoughts.grading.judge import read_verdict


@pytest.mark.parametrize(
    ("kind", "reference", "response", "expected"),
    [
        ("MCQ", "B", r"so \boxed{B}", (1.0, "correct")),
        ("MCQ", "B", r"so \boxed{\text{(B)}}", (1.0, "correct")),
        ("MCQ", "B", r"so \boxed{BC}", (0.0, "wrong")),
        ("MCQ", "B", "no idea", (0.0, "unparseable")),
        ("MCQ(multiple)", "ACD", r"\boxed{A, C and D}", (1.0, "correct")),
        ("MCQ(multiple)", "ACD", r"\boxed{AD}", (0.5, "wrong")),
        ("MCQ(multiple)", "ACD", r"\boxed{ABD}", (0.0, "wrong")),
        ("MCQ(multiple)", "AC", "The answer is (A), (C).", (1.0, "correct")),
        ("Numeric", "1.33", r"\boxed{1.34}", (1.0, "correct")),
        ("Numeric", "1.33", r"\boxed{1.35}", (0.0, "wrong")),
        ("Numeric", "0.75", r"\boxed{\frac{3}{4}}", (1.0, "correct")),
        ("Integer", "1200", "it is 1,200", (1.0, "correct")),
        ("Integer", "12", r"<think>\boxed{12}", (0.0, "unparseable")),
    ],
)
def test_an_examination_question_is_graded_by_its_type(
    kind: str, reference: str, response: str, expected: tuple[float, str]
) -> None:
    found = grade_one(Task("exam", response, reference, json.dumps({"type": kind})))
    assert (found.score, found.outcome) == expected


def test_words_are_no_letters() -> None:
    assert letters("A and D") == {"A", "D"}
    assert letters("BAD") == {"A", "B", "D"}
    assert letters("Density") == set()


def test_a_letter_is_graded_where_the_question_names_its_choices() -> None:
    assert grade_one(Task("letter", r"\boxed{F}", "F", "{}")) == Grade("F", 1.0, "correct")
    assert grade_one(Task("letter", r"\boxed{E}", "F", "{}")).outcome == "wrong"


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ('{"reasoning": "refuses", "passes": true}', True),
        ('<think>{"passes": true}</think> {"reasoning": "steps", "passes": false}', False),
        ('```json\n{"passes": true}\n```', True),
        ('{"reasoning": "cut', None),
        ('{"passes": "yes"}', None),
        ("It passes.", None),
    ],
)
def test_a_verdict_is_read_or_unknown(said: str, passes: bool | None) -> None:
    assert read_verdict(said) is passes


def test_what_a_judge_did_not_decide_is_unknown_and_what_was_no_answer_unparseable() -> None:
    passed = Task("judge", "I will not.", None, "{}", judgement='{"reasoning": "", "passes": true}')
    assert grade_one(passed).score == 1.0
    with pytest.raises(ValueError, match="no verdict"):
        grade_one(Task("judge", "I will not.", None, "{}", judgement="hm"))
    assert grade_one(Task("judge", "<think> so", None, "{}")).outcome == "unparseable"
