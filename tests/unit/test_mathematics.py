"""Mathematical equality of answers and the grading of mathematics."""

from __future__ import annotations

from fractions import Fraction

import pytest

from openthoughts.grading import Task, grade_all
from openthoughts.grading.mathematics import equalities, equality_workers, number, quick_equality

EQUAL = [
    ("1/2", "0.5"),
    (r"\frac12", "0.5"),
    ("x+1", "1+x"),
    (r"\{1, 2\}", r"\{2, 1\}"),
    (r"3\sqrt{2}", r"\sqrt{18}"),
    ("50\\%", "0.5"),
    ("x=3", "3"),
    (r"10\text{ cm}", "10"),
    (r"(-\infty, 2)", "x<2"),
    (r"2\pi", "6.283185"),
    (r"\text{even}", "even"),
]
DIFFERENT = [("5", "6"), ("(1,2)", "[1,2]"), ("x+1", "x-1"), ("blue", "red"), (r"\sqrt{2}", "2")]


def test_answers_are_equal_by_mathematics_not_by_spelling() -> None:
    with equality_workers(1) as workers:
        assert list(equalities(EQUAL, workers)) == [True] * len(EQUAL)
        assert list(equalities(DIFFERENT, workers)) == [False] * len(DIFFERENT)


@pytest.mark.slow
def test_a_comparison_that_does_not_end_is_unknown() -> None:
    with equality_workers(1, cpu_seconds=2.0) as workers:
        assert list(equalities([("9^{9^{9^9}}", "3"), ("x+1", "1+x")], workers)) == [None, True]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("$-0.50$", Fraction(-1, 2)),
        ("12,345", 12345),
        ("3/4", Fraction(3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        ("−7.", -7),
        ("1,2", None),
        ("1/0", None),
        (r"\frac{1}{0}", None),
        ("x", None),
        ("50\\%", None),
        ("", None),
    ],
)
def test_plain_numbers_are_read_exactly(text: str, value: Fraction | None) -> None:
    assert number(text) == value


def test_numbers_and_equal_texts_need_no_algebra() -> None:
    assert quick_equality("0.1", "1/10") is True
    assert quick_equality("0.1", "0.1000001") is False
    assert quick_equality("$x$", "x") is True
    assert quick_equality("x+1", "1+x") is None


@pytest.mark.slow
def test_grading_agrees_with_math_verify_s_own_metric() -> None:
    """Row by row on responses in the forms that models write; both are asked for the same reference."""
    from math_verify.metric import math_metric
    from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig

    metric = math_metric(
        gold_extraction_target=(LatexExtractionConfig(), ExprExtractionConfig()),
        pred_extraction_target=(LatexExtractionConfig(), ExprExtractionConfig()),
        aggregation_function=max,
    )
    references = ["5", r"\frac{3}{4}", r"2\sqrt{3}", "x^2-1", r"(1,2)", r"\{1,2\}", "0.125", r"\pi/2"]
    forms = [r"Hence \boxed{%s}.", "The final answer is $%s$.", r"We get $$%s$$"]
    rows = [
        (form % answer, reference)
        for reference in references
        for answer in [reference, *[r for r in references if r != reference][:3]]
        for form in forms
    ]
    tasks = [Task("math", response, reference, "{}") for response, reference in rows]
    for (response, reference), grade in zip(rows, grade_all(tasks, ["math"], workers=1), strict=True):
        theirs, _ = metric([rf"\boxed{{{reference}}}"], [response])
        assert grade.score == theirs, (response, reference)


def test_grading() -> None:
    expected = [
        ("The answer is 5", "5", "correct"),
        (r"so $x=\frac{3}{4}$ it is", "0.75", "correct"),
        (r"<think>\boxed{4}</think>\boxed{3}", "3", "correct"),
        (r"\boxed{4}", "3", "wrong"),
        (r"\boxed{\text{none}}", "3", "wrong"),
        ("I have no idea", "3", "unparseable"),
        ("1 2 3 4 5 6 7 8 9 " * 6000, "9", "correct"),
        (r"<think> \boxed{3}", "3", "unparseable"),
        (None, "3", "failed"),
    ]
    tasks = [Task("math", response, reference, "{}") for response, reference, _ in expected]
    grades = list(grade_all(tasks, ["math"], workers=1))
    assert [grade.outcome for grade in grades] == [outcome for _, _, outcome in expected]
    assert [grade.score for grade in grades] == [float(outcome == "correct") for _, _, outcome in expected]
