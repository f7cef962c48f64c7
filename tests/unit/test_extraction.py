"""The final answer of a response, in the forms in which models write it."""

from __future__ import annotations

import pytest

from openthoughts.base.reasoning import after_reasoning
from openthoughts.grading.extraction import choice_letter, final_answer, last_boxed, stated_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so the result is \boxed{42}.", "42"),
        (r"first \boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{x^{2^{n}}}", "x^{2^{n}}"),
        (r"\fbox{7}", "7"),
        (r"\boxed 5", "5"),
        (r"good: \boxed{3}, cut off: \boxed{\frac{1", "3"),
        (r"\boxed{}", None),
        ("no box", None),
    ],
)
def test_boxed_answers_are_read_with_balanced_braces(response: str, answer: str | None) -> None:
    assert last_boxed(response) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is 42.", "42"),
        ("Thus the final answer is: **7.5**. Done", "7.5"),
        ("**Final Answer:** $x=3$", "x=3"),
        ("Answer: 12,345", "12,345"),
        ("The answer is 1. On reflection the correct answer is 2.", "2"),
        ("the answer would be $\\frac{1}{2}$ of it", "\\frac{1}{2}"),
        ("I will answer the question.", None),
    ],
)
def test_stated_answers_end_with_their_sentence(response: str, answer: str | None) -> None:
    assert stated_answer(response) == answer


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", [r"\boxed{1 ", "answer is ", "{", "$x ", "```python\n", "*", "1 2 3 "])
def test_endless_repetition_is_read_quickly(piece: str) -> None:
    endless = piece * (1_000_000 // len(piece))
    assert final_answer(f"{endless} the answer is 7", last_number=True) is not None


def test_only_what_follows_the_reasoning_counts() -> None:
    response = "<think>\nmaybe \\boxed{1}\n</think>\n\nThe answer is 2."
    assert final_answer(response) == "2"
    assert after_reasoning("plain") == "plain"


def test_reasoning_that_was_cut_off_has_no_answer() -> None:
    assert final_answer("<think>\nso it is \\boxed{1}, let me check") is None
    assert final_answer(None) is None


def test_a_box_beats_a_tag_beats_a_sentence_beats_a_number() -> None:
    assert final_answer("the answer is 1. <answer>2</answer> \\boxed{3}") == "3"
    assert final_answer("the answer is 1. <answer>2</answer>") == "2"
    assert final_answer("the answer is 1. Also 5.") == "1"
    assert final_answer("so 3, then -1,234.5 remain") is None
    assert final_answer("so 3, then -1,234.5 remain", last_number=True) == "-1,234.5"
    assert final_answer("nothing here", last_number=True) is None


CHOICES = ["Rome", "Paris", "Berlin", "Vienna"]


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The answer is (B) because of the river.", "B"),
        (r"\boxed{C}", "C"),
        (r"\boxed{\text{(C)}}", "C"),
        ("**Answer:** D.", "D"),
        ("answer: b", "B"),
        ("The correct option is **A**", "A"),
        ("The answer is option C.", "C"),
        ("The answer is Paris.", "B"),
        ("Let me think.\nB", "B"),
        ("<think>\\boxed{A}</think>(D)", "D"),
        (r"\boxed{E}", None),
        ("A good question. I do not know", None),
        ("<think>\\boxed{A}", None),
        ("", None),
    ],
)
def test_choice_letters(response: str, letter: str | None) -> None:
    assert choice_letter(response, CHOICES) == letter


def test_a_choice_that_is_itself_a_letter_is_not_taken_for_its_place() -> None:
    assert choice_letter("The answer is A.", ["B", "A"]) == "A"
