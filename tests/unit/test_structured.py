"""What models are asked to answer with: the schemas belong to the store's keys, and one reader reads them all."""

from __future__ import annotations

import pytest

from openthoughts.answers import verification
from openthoughts.base.hashing import digest
from openthoughts.grading import judge
from openthoughts.inference.structured import Form, Unreadable, read_answer
from openthoughts.questions.labelling import response_schema
from openthoughts.questions.writing import step_schema

DIGESTS = {
    "difficulty": "dd9c57597eb68a457270f28874b49bb4",
    "ask_llm": "7bdeaac749fef28e194733ecb257e78d",
    "write": "a3d2b255115b4b0705c63570fa713a0a",
    "check": "4c9f238e24999a77979f80aae9d05210",
    "llm_verification": "b2bf8687c2a39f7dac515779db5dbe13",
    "verdict": "665cdf5c22b20730c344b0aabc8b1262",
}
"""As they were when answers were stored: another digest asks again for everything."""


class Colour(Form):
    """What colour something is."""

    reasoning: str = ""
    red: bool


def test_stored_answers_are_found_again() -> None:
    schemas = [response_schema("difficulty"), response_schema("ask_llm"), step_schema("write"), step_schema("check")]
    schemas += [verification.verdict_schema(), judge.verdict_schema()]
    assert {schema.name: digest(dict(schema.schema)) for schema in schemas if schema} == DIGESTS


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("<think>{}</think>It is.", "no JSON object", "no JSON object in 'It is.'"),
        ('{"red": true} or so.</think>It is.', "no JSON object", "no JSON object in 'It is.'"),
        ('{"reasoning": "r"}', "Field required", "red: Field required in "),
        ('<think> {"red": true}', "the thinking was cut off", "the thinking was cut off in "),
        ('{"green": 1}', "Field required", "red: Field required in "),
    ],
)
def test_what_cannot_be_read_says_why_and_where(text: str, reason: str, detail: str) -> None:
    found = read_answer(Colour, text)
    assert isinstance(found, Unreadable)
    assert found.reason == reason
    assert found.detail.startswith(detail)


def test_further_members_are_passed_over() -> None:
    assert read_answer(Colour, 'So: {"red": true, "blue": 3}') == Colour(red=True)


def test_a_judge_may_leave_out_its_reasons() -> None:
    assert judge.read_verdict('{"reasoning": null, "passes": true}') is True


def test_loops_of_a_model_are_read_in_time() -> None:
    for text in (
        "{" * 50_000,
        '{"a": ' * 50_000,
        "{" + "\\" * 50_000,
        '{"red": "' + "{x" * 50_000,
        "</think>{" * 20_000,
    ):
        assert isinstance(read_answer(Colour, text), Unreadable)
