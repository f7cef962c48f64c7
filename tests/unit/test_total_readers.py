"""Everything that reads what a model wrote takes any text: no exception, and no loop that does not end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from tests.odd_texts import texts

from openthoughts.answers import language
from openthoughts.answers.filters import FILTERS
from openthoughts.base.reasoning import split_reasoning
from openthoughts.grading import extraction, mathematics
from openthoughts.grading.graders import exam
from openthoughts.grading.judge import read_verdict
from openthoughts.questions.labelling import answered_methods, read_label

CHOICES = ("a", "b and c", "", "A", r"\frac{1}{2}")

READERS: dict[str, Callable[[str], Any]] = {
    "reasoning": split_reasoning,
    "final answer": lambda text: extraction.final_answer(text, last_number=True),
    "choice": lambda text: extraction.choice_letter(text, CHOICES),
    "letters": exam.letters,
    "exam": lambda text: exam._value(text),
    "normalized": mathematics.normalized,
    "number": mathematics.number,
    "equality": lambda text: mathematics.quick_equality(text, text[::-1]),
    "prose": language.prose,
    "language": language.language,
    "verdict": read_verdict,
    **{
        f"label {name}": lambda text, name=name: read_label(name, {"text": text, "error": None, "completion_tokens": 1})
        for name in answered_methods()
    },
}

SECONDS = 10.0
"""The most that one call may take: a table has millions of texts."""


@pytest.mark.parametrize("count", [200, pytest.param(100_000, marks=pytest.mark.exhaustive)])
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", READERS)
def test_any_text_is_read(name: str, count: int) -> None:
    for text in texts(count, seed=count):
        begin = time.monotonic()
        try:
            READERS[name](text)
        except Exception as error:
            raise AssertionError(f"{name} of {text[:300]!r} ({len(text)} characters): {error!r}") from error
        taken = time.monotonic() - begin
        assert taken < SECONDS, f"{name} takes {taken:.0f} s for {text[:300]!r} ({len(text)} characters)"


@pytest.mark.parametrize("name", [name for name, filter_ in FILTERS.items() if filter_.needs is None])
def test_filters_measure_any_text(name: str) -> None:
    given = list(texts(200, seed=1))
    table = pl.DataFrame({
        "question_id": [f"{number:032x}" for number in range(len(given))], "occurrence": 0, "sample": 0, "text": given,
        "reference_answer": given[::-1], "completion_tokens": 1, "finish_reason": "stop", "error": None,
    }, schema_overrides={"sample": pl.Int64, "occurrence": pl.Int64, "error": pl.String})  # fmt: skip
    assert FILTERS[name](**dict.fromkeys(FILTERS[name].wanted, 1)).measure(table).height == len(given)


LOOPS = (
    r"\frac{" + "1" * 5000 + "}{3}", "1" * 100_000, "1," * 50_000, "3/" * 50_000, r"\[" * 50_000, r"\(" * 50_000,
    "$$" * 50_001, "<answer>" * 20_000, "answer is" + " " * 100_000, "the answer is " * 10_000, "(" * 100_000,
    "answer: " + "(" * 100_000, r"\boxed{" * 20_000, r"\boxed{" + "{" * 100_000, "```" * 33_333, "{" * 100_000,
    r"\text{" * 20_000, "A and " * 20_000, "\n" * 100_000, "answer: " + "option " * 15_000, "</think>" * 15_000,
    "<think>" * 15_000, " " * 100_000 + "x", "**" * 50_000, "final " * 20_000, "\\" * 100_000, "=" * 100_000,
    "boxed answer" + "_*" * 50_000, "<" * 100_000, "</a" * 40_000, "$" + "x" * 100_000, "{'a': " * 20_000,
)  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", READERS)
def test_a_loop_of_a_model_is_read_in_time(name: str) -> None:
    for text in LOOPS:
        READERS[name](text)
