"""What models are asked to answer with: the schemas belong to the store's keys, and one reader reads them all."""

from __future__ import annotations

import json

import pytest

from openthoughts.answers import verification
from openthoughts.base.hashing import digest
from openthoughts.grading import judge
from openthoughts.inference.structured import Form, Unreadable, read_answer, read_completion
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


def test_an_object_is_read_however_many_braces_are_in_it() -> None:
    reasons = "So " + "x_{2} " * 300
    assert read_answer(Colour, json.dumps({"reasoning": reasons, "red": True})) == Colour(reasoning=reasons, red=True)
    assert read_answer(Colour, "{1} " * 1000 + '{"red": true}') == Colour(red=True)


def test_json_that_is_right_is_read_as_it_is() -> None:
    reasons = r"the set \} and \frac{1}{2}, \boxed{3}"
    assert read_answer(Colour, json.dumps({"reasoning": reasons, "red": True})) == Colour(reasoning=reasons, red=True)


@pytest.mark.parametrize(
    "formula", [r"\boxed{3}", r"2 \times 3", r"a \neq b", r"\rho \beta", r"\begin{cases}", r"\text{m}"]
)
def test_a_formula_keeps_its_backslashes(formula: str) -> None:
    read = read_answer(Colour, f'{{"reasoning":"{formula} is\\nso","red":true}}')
    assert read == Colour(reasoning=f"{formula} is\nso", red=True)


class Grade(Form):
    """A grade."""

    grade: int


@pytest.mark.parametrize(
    "text",
    [
        '{"label": {"grade": 1',
        '{"labels": [{"grade": 1',
        '{"a": 1, "grade": 1',
        '{"grade": "1',
        '{"a": {"b": [[{"grade": 1',
    ],
)
def test_a_number_that_may_be_cut_counts_nowhere(text: str) -> None:
    assert isinstance(read_answer(Grade, text), Unreadable)


@pytest.mark.parametrize("text", ["{" * 20 + "a" * 8000, "{" * 200 + "a" * 200_000, '{"a": [' * 3000])
def test_a_loop_of_braces_is_given_up(text: str) -> None:
    assert isinstance(read_answer(Colour, text), Unreadable)


@pytest.mark.parametrize(
    "text",
    [
        '{"grade": "x", "part": {"grade": 3}}',  # the object itself is the answer
        '{"grade": null, "example": {"grade": 1}}',
        '{"scale": {"grade": 10}, "rating": {"grade": 7}}',  # which of them?
        '{"ratings": [{"grade": 3}, {"grade": 7}], "final": 7}',
        'An easy one: {"grade": 1}. This one: {"grade": 7',  # cut: no earlier one is taken for it
        'An easy one: {"grade": 1}. This one: {"reasoning": "long, "grade":',
    ],
)
def test_an_answer_that_may_mean_several_things_is_none(text: str) -> None:
    assert isinstance(read_answer(Grade, text), Unreadable)


def test_several_objects_that_agree_are_one_answer() -> None:
    assert read_answer(Grade, '{"a": {"grade": 7}, "b": [{"grade": 7}]}') == Grade(grade=7)
    assert read_answer(Grade, '{"grade": 3} no, {"grade": 7}') == Grade(grade=7), "a draft, then the answer"
    assert read_answer(Grade, '{"grade": 7}, not {"grade": "high"}') == Grade(grade=7), "the last that fits"


@pytest.mark.parametrize(
    "written",
    ["6–7", "6 to 7", "7|8", "3, 7", "3 7", "3*2", "3 no, 7", "5 -> 7", "~~3~~ 7", "4½", "4 1/2", "1 0", "10%"],
)
@pytest.mark.parametrize("name", ['"grade"', "'grade'", "grade"])
def test_what_is_more_than_a_number_is_none(name: str, written: str) -> None:
    assert isinstance(read_answer(Grade, f'{{{name}: {written}, "further": "x"}}'), Unreadable)
    assert isinstance(read_answer(Grade, f"{{{name}: {written}}}"), Unreadable)


@pytest.mark.parametrize("written", ["true or false", "true | false", "!true", "true false"])
def test_what_is_more_than_a_verdict_is_none(written: str) -> None:
    assert isinstance(read_answer(Colour, f'{{"red": {written}}}'), Unreadable)


@pytest.mark.parametrize("written", ["7", '"7"', "**7**", "7 // of 10", "7 (hard)", "7 # hard", "+7"])
def test_a_number_with_a_remark_is_one(written: str) -> None:
    assert read_answer(Grade, f"{{grade: {written}\n}}") == Grade(grade=7)


@pytest.mark.parametrize(
    "opened",
    [
        *(
            "\ufeff<think>",
            "assistant\n<think>",
            "Okay. <think>",
            "```\n<think>",
            "<think >",
            "<seed:think>",
            "<THINK>",
        ),
        *(
            "◁think▷",
            "<|begin_of_thought|>",
            "<|channel|>analysis<|message|>",
            "Thinking...\n",
            "<think>a</think><think>",
        ),
    ],
)
def test_thinking_of_any_form_is_no_answer(opened: str) -> None:
    assert isinstance(read_answer(Grade, opened + 'maybe {"grade": 3} cut'), Unreadable)


@pytest.mark.parametrize(
    "text",
    [
        r"<think>f = \left\{ x if: 1 \right. so</think>{}",  # braces of thinking, never closed
        "<think>set { x : y </think>{}",
        '<think>I output {"reasoning": "...", "grade": ...\n</think>\n{}',
        "set { x : y <think> z </think>\n{}",
        "<think>" + "{1, 2} " * 300 + "</think>{}",
        "Uses the <think> tag. {}",
        "The <analysis> of it. {}",
        "{}\n<think>\n",
        "{} where f(x) = \\left\\{ x: y \\right. is a grade",
        "<analysis>so\n<answer>{}</answer>",
    ],
)
@pytest.mark.parametrize("given", ['{"grade": 7}', "{'grade': 7}"])
def test_what_stands_around_an_answer_does_not_hide_it(text: str, given: str) -> None:
    assert read_answer(Grade, text.replace("{}", given)) == Grade(grade=7)


class Rated(Form):
    """A grade and why."""

    grade: int
    reasoning: str = ""


@pytest.mark.parametrize(
    "text",
    [
        '{"grade": 7, "reasoning": "An olympiad one has grade: 9/10',
        '{"grade": 7, "reasoning": "Overall grade: high, since \\(x^2\\) is used"}',
        '{"grade": 7, "reasoning": "Rated as grade: 7 because it',
        "{'grade': 7, 'reasoning': 'the upgrade: hard, as it isn't easy'}",
        '{"grade": 7\n"reasoning": "hard"}',
        '```json\n{"reasoning": "x", "grade": 7\n```',
        '```json\n{"reasoning": "x", "grade": 7,\n```',
        '{"reasoning": "x", "grade": "7"',
        '{"grade": $7$, "reasoning": "x"}',
        '{"grade": 7 (1-10), "reasoning": "x"}',
        '{"grade": 7; "reasoning": "x"}',
    ],
)
def test_the_rationale_takes_nothing_from_the_number(text: str) -> None:
    read = read_answer(Rated, text)
    assert isinstance(read, Rated) and read.grade == 7


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        (r"""{"grade": 7, "reasoning": "It prints {'a': 1, 'b': 2}, not {'grade': 3} for \(n\)."}""", 7),
        (r"""{"reasoning": "The \(n\) case f = {'a': 1, 'b': 2} is simple.", "grade": 7}""", 7),
        (r'{"grade": 7, "reasoning": "Needs \(x^2\), creativity: 6, grade: 8, so it is hard."}', 7),
        ("{'grade': 7, 'reasoning': 'Good, grade: 3.'}", 7),
        ("{'grade': 7, 'reasoning': 'overall, I rate it, grade: 3/10, since'}", 7),
        ('An easy one: {"grade": 2}.\n' + r"""{"reasoning": "\(n\) for f = {'a': 1}", "grade": 7}""", 7),
        ('{"grade": 8, "reasoning": "x", "grade": 8', None),
        (r'{"reasoning": "Uses \(x\), level: high, grade: 7, steps: 3", "grade": 1', None),
        ('{"grade": 7, "r', 7),
        ('{"grade": 7, "reasoning"', 7),
        ('{"grade": 7, ...}', 7),
        ('{"grade": 07, "reasoning": "x"}', 7),
        (r'{\n  "grade": 7,\n  "reasoning": "x"\n}', 7),
        ('{"grade": 7, "reasoning": "It closes </think> at the end', 7),
        (r'{"grade": 7, "reasoning": "Uses \(n\), </think> and {1, 2}."}', 7),
        ('{"reasoning": "It ends its <think> block {1}", "grade": 7,}', 7),
        ('<|channel|>analysis<|message|>hm<|end|><|channel|>final <|constrain|>json<|message|>{"grade": 7}', 7),
    ],
)
def test_nothing_in_a_text_is_taken_for_a_member(text: str, grade: int | None) -> None:
    read = read_answer(Rated, text)
    assert (read.grade if isinstance(read, Rated) else None) == grade


def test_many_numbers_are_read_in_time() -> None:
    members = ", ".join(f"k{number}: {number}" for number in range(15_000))
    assert read_answer(Grade, f"{{{members}, grade: 7}}") == Grade(grade=7)


@pytest.mark.parametrize(
    "text",
    ["<scratchpad>{}</scratchpad> No.", "<analysis>{}</analysis> No.", "Thinking...\n{}\n...done thinking.\nNo."],
)
def test_closed_thinking_of_any_form_is_no_answer(text: str) -> None:
    assert isinstance(read_answer(Grade, text.replace("{}", '{"grade": 3}')), Unreadable)


def test_what_the_token_limit_cut_counts_only_at_its_end() -> None:
    cut = {"text": 'An easy one would be {"grade": 3}. Hm', "finish_reason": "length"}
    assert isinstance(read_completion(Grade, cut), Unreadable)
    assert read_completion(Grade, {**cut, "finish_reason": "stop"}) == Grade(grade=3)
    for text in (
        'So {"grade": 3}\n```\n   ',
        '```json\n{"grade": 3}\n```\nIt is easy, as',
        '{"grade": 3}</answer><|eot_id|>',
    ):
        assert read_completion(Grade, {**cut, "text": text}) == Grade(grade=3)


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
        "{a:b," * 40_000,
        '{"```json\n' * 6 + '{"```jjson\n' + '{"```json\n' * 6 + '{"```jsoning": "\\frac{1}{2}", "green": 7}\n```',
        "{reasoning: " + "text{" * 40_000 + ", red: true}",
        "{reasoning: " + "{'a':'" * 33_333,
    ):
        assert isinstance(read_answer(Colour, text), Unreadable)
