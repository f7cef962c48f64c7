"""Grading of multiple choice and of reasoning-gym's tasks."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from openthoughts.grading import Task, grade_all
from openthoughts.grading.graders.choice import right_letter
from openthoughts.grading.graders.reasoning_gym import answer_of, is_mathematics

FAMILIES = [
    "binary_matrix",
    "bitwise_arithmetic",
    "countdown",
    "number_sorting",
    "polynomial_multiplication",
    "prime_factorization",
    "spiral_matrix",
    "string_insertion",
]
CHOICES = json.dumps({"choices": ["Rome", "Paris", "Berlin"]})


def outcomes(grader: str, responses: list[str | None], reference: str, metadata: str) -> list[str]:
    tasks = [Task(grader, response, reference, metadata) for response in responses]
    return [grade.outcome for grade in grade_all(tasks, [grader], workers=1)]


def test_choices_are_graded_by_letter_and_by_text() -> None:
    responses = [r"\boxed{B}", "The answer is Paris", r"\boxed{A}", "well", None]
    expected = ["correct", "correct", "wrong", "unparseable", "failed"]
    assert outcomes("choice", responses, "B", CHOICES) == expected
    assert outcomes("choice", responses, "Paris", CHOICES) == expected


def test_the_right_choice_may_be_given_as_letter_or_text() -> None:
    assert right_letter("C", ["x", "y", "z"]) == "C"
    assert right_letter("z", ["x", "y", "z"]) == "C"


def test_a_question_without_its_choices_is_unknown_not_wrong() -> None:
    [grade] = grade_all([Task("choice", r"\boxed{B}", "B", "{}")], ["choice"], workers=1)
    assert (grade.score, grade.outcome) == (None, "unknown")


@pytest.fixture(scope="module")
def gym_tasks() -> dict[str, tuple[str, str]]:
    """Family -> the answer and the metadata of a generated task, as the table holds them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import reasoning_gym
    tasks = {}
    for family in FAMILIES:
        entry = json.loads(json.dumps(reasoning_gym.create_dataset(family, size=1, seed=3)[0]))
        tasks[family] = (entry["answer"], json.dumps({"family": family, "entry": entry}))
    return tasks


def gym_outcomes(tasks: dict[str, tuple[str, str]], responses: list[str]) -> dict[str, list[str]]:
    """Family -> the outcome of each response, ``{answer}`` standing for the right one."""
    graded = grade_all(
        [
            Task("reasoning_gym", response.replace("{answer}", answer), answer, metadata)
            for answer, metadata in tasks.values()
            for response in responses
        ],
        ["reasoning_gym"],
        workers=1,
    )
    found = [grade.outcome for grade in graded]
    return {family: found[i * len(responses) : (i + 1) * len(responses)] for i, family in enumerate(tasks)}


def test_reasoning_gym_scores_its_own_answers(gym_tasks: dict[str, tuple[str, str]]) -> None:
    found = gym_outcomes(gym_tasks, ["so <answer>{answer}</answer>", "<answer>no</answer>", "hm"])
    assert found == {family: ["correct", "wrong", "unparseable"] for family in FAMILIES}


def test_an_answer_that_is_a_program_is_never_run(gym_tasks: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    harmed = tmp_path / "harmed"
    attacks = [
        f"<answer>__import__('os').system('touch {harmed}')</answer>",
        f"<answer>[open('{harmed}', 'w')]</answer>",
        "<answer>exec(" + "+".join(f"chr({ord(letter)})" for letter in f"open({str(harmed)!r},'w')") + ")</answer>",
    ]
    assert gym_outcomes(gym_tasks, attacks) == {family: ["wrong"] * len(attacks) for family in FAMILIES}
    assert not harmed.exists()


def test_the_answer_between_tags_is_taken_as_written() -> None:
    assert answer_of("<think>x</think><answer>1 2\n3 4</answer>") == "1 2\n3 4"
    assert answer_of(r"\boxed{7}") == "7"
    assert answer_of("<think><answer>1</answer>") is None


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("3*x**2 + 2*x + C", True),
        ("sin(x)/2 + pi", True),
        ("0.5*(3 - 2)", True),
        ("open(x)", False),
        ("x.__class__", False),
        ("(1).real", False),
        ("'a'", False),
        ("[1]", False),
        ("Symbol(x)", False),
    ],
)
def test_only_mathematics_reaches_sympy(text: str, safe: bool) -> None:
    assert is_mathematics(text) is safe
