"""Prompts as messages, sampling settings as request bodies, answers as labels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from openthoughts.base.cli import UserError
from openthoughts.inference.prompts import Prompt, text_digest
from openthoughts.inference.sampling import Sampling
from openthoughts.questions.labelling import read_label, response_schema
from openthoughts.questions.labels import Label

CATALOG_PROMPTS = sorted((Path(__file__).parents[2] / "catalog" / "prompts").glob("*.md"))


def test_the_bare_question_is_the_only_message() -> None:
    assert Prompt.read(None).messages("What? {question}") == [{"role": "user", "content": "What? {question}"}]


def test_placeholders_are_replaced_literally_and_once() -> None:
    prompt = Prompt.parse("<!-- system -->\nBe brief.\n<!-- user -->\n{{ question }}\n\n{{choices}}\n{{ unit }}\n")
    metadata = json.dumps({"choices": ["{question}", "no"], "unit": "m"})
    assert prompt.messages("Is \\1 {choices} a {brace}?", metadata) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is \\1 {choices} a {brace}?\n\nA) {question}\nB) no\nm"},
    ]


def test_a_prompt_without_its_question_is_refused() -> None:
    with pytest.raises(UserError, match=r"no \{\{ question \}\}"):
        Prompt.parse("Hello")


def test_a_question_without_what_the_prompt_wants_is_named() -> None:
    with pytest.raises(UserError, match=r"'Why.*'choices' is undefined"):
        Prompt.parse("{{ question }} {{ choices }}").messages("Why?", "{}")


@pytest.mark.parametrize(
    "text", [r"\boxed{answer} {answer} \frac{a}{b} {{ question }}", "{{ '{{answer}}' }} {{ question }}"]
)
def test_braces_of_mathematics_are_text(text: str) -> None:
    (message,) = Prompt.parse(text).messages("Why {{ answer }}?", {"answer": "4", "a": "1", "b": "2"})
    assert message["content"] == text.replace("{{ question }}", "Why {{ answer }}?").replace(
        "{{ '{{answer}}' }}", "{{answer}}"
    )


@pytest.mark.parametrize(
    "name",
    [
        "answer",
        "reference_answer",
        "tests",
        "label",
        "Answer",
        "gold",
        "final_answer",
        "expectedAnswer",
        "entry",
        "test",
        *("gt", "response", "completion", "rationale", "explanation", "expected", "ideal", "finalanswer", "answer1"),
        *("groundtruth", "ground_truths", "unittests", "test_cases", "solution2", "ans"),
    ],
)
def test_a_prompt_that_tells_the_answer_is_refused_unless_it_judges(name: str) -> None:
    text = f"{{{{ question }}}} {{{{ {name} }}}}"
    with pytest.raises(UserError, match="would tell the model the answer"):
        Prompt.parse(text)
    assert Prompt.parse(text, may_tell=True).messages("Why?", {name: "4"})[0]["content"] == "Why? 4"


@pytest.mark.parametrize("name", ["unit", "answer_type", "answer_format", "function", "topic", "time_limit", "choices"])
def test_what_only_says_something_about_the_answer_may_be_shown(name: str) -> None:
    assert Prompt.parse(f"{{{{ question }}}} {{{{ {name} }}}}").messages("Why?", {name: "x"})[0]["content"] == "Why? x"


@pytest.mark.parametrize(
    "look",
    [
        *(
            "{{ meta.answer }}",
            "{{ meta['solution'] }}",
            "{{ [meta] | map(attribute='answer') | first }}",
            "{{ meta.get('gold') }}",
        ),
        *("{{ items | map(attribute='answer') | list }}", "{{% for x in items %}}{{ x.label }}{{% endfor %}}"),
    ],
)
def test_a_prompt_looks_up_no_answer_within_the_metadata(look: str) -> None:
    with pytest.raises(UserError, match="would tell the model the answer"):
        Prompt.parse("{{ question }}" + look)
    metadata = {"meta": {"answer": "4", "solution": "4", "gold": "4"}, "items": [{"answer": "4", "label": "4"}]}
    assert "4" in Prompt.parse("{{ question }}" + look, may_tell=True).messages("Why?", metadata)[0]["content"]


def test_what_tells_the_answer_is_left_out_of_what_a_prompt_shows_whole() -> None:
    metadata = {"meta": {"unit": "m", "answer": "4", "steps": [{"solution": "4", "n": 1}]}}
    (message,) = Prompt.parse("{{ question }} {{ meta }}{{ meta['ans' ~ 'wer'] | default('') }}").messages(
        "?", metadata
    )
    assert message["content"] == '? {"unit": "m", "steps": [{"n": 1}]}'


def test_a_prompt_sees_values_as_they_are_and_writes_them_as_json() -> None:
    metadata = {"flag": False, "n": 1.5, "tags": ["a", "b"], "none": None}
    text = "{{ flag }} {{% if flag %}}yes{{% else %}}no{{% endif %}} {{ n * 2 }} {{ tags }} {{ tags | join('+') }}"
    (message,) = Prompt.parse(f"{{{{ question }}}} {text} {{{{ none }}}}").messages("?", json.dumps(metadata))
    assert message["content"] == '? false no 3.0 ["a", "b"] a+b null'


def test_a_prompt_comes_out_the_same_each_time() -> None:
    with pytest.raises(UserError, match="No filter named 'random'"):
        Prompt.parse("{{ question }} {{ ['a', 'b'] | random }}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{{ unit | nosuch }}", "No filter named 'nosuch'.*correct its name"),
        ("{{% if unit %}}", "end every"),
        (r"\frac{{{ unit }}}{b}", "a value within braces as"),
        ("{{ " + "(" * 3000 + " }}", "is no template"),
    ],
)
def test_a_broken_template_says_what_to_write(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Prompt.parse("{{ question }}" + text)
    whole = Prompt.parse(r"{{ question }} \frac{ {{ unit }} }{b}").messages("?", {"unit": "m"})
    assert whole[0]["content"] == r"? \frac{ m }{b}"


def test_markers_of_messages_may_be_capitals() -> None:
    assert [role for role, _ in Prompt.parse("<!-- System -->\nA\n<!-- USER -->\n{{ question }}").sections] == [
        "system",
        "user",
    ]


@pytest.mark.parametrize(
    ("choices", "shown"),
    [
        ({"text": ["x", "y"], "label": ["A", "B"]}, "A) x\nB) y"),
        ({"A": "x", "B": "y"}, "A) x\nB) y"),
        (["x", "y"], "A) x\nB) y"),
        ([{"text": "x", "is_correct": True}, {"text": "y"}], "A) x\nB) y"),
        ({"A": "x", "B": "y", "answer": "B"}, "A) x\nB) y"),
        (5, "5"),
    ],
)
def test_choices_of_any_form(choices: object, shown: str) -> None:
    assert (
        Prompt.parse("{{ question }}\n{{ choices }}").messages("?", {"choices": choices})[0]["content"] == f"?\n{shown}"
    )


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (["x"] * 27, "27 choices"),
        ({"label": ["A"], "text": ["x", "y"]}, "1 labels of 2 choices"),
        ([{"is_correct": True}], "without a text"),
        (None, "is undefined"),
    ],
)
def test_choices_that_cannot_be_shown_are_refused_where_they_are_asked_for(choices: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Prompt.parse("{{ question }}\n{{ choices | upper }}").messages("?", {"choices": choices} if choices else {})
    (message,) = Prompt.parse("{{ question }} {{ unit }}").messages("?", {"choices": choices, "unit": "m"})
    assert message["content"] == "? m"


@pytest.mark.parametrize(
    "text",
    ["{{ question.replace('Solution:', '') }}", "{{ question.split('Answer:')[0] }}", "{{ tags | join(', key: ') }}"],
)
def test_words_in_a_text_are_no_names(text: str) -> None:
    assert Prompt.parse("{{ question }}" + text).messages("?", {"tags": ["a"]})


@pytest.mark.parametrize("text", ["a{#b} c {#d#} e", r"\newcommand{\f}[1]{\frac{#1}{2}}", "{%comment\n50%}", "{a}"])
def test_single_braces_are_text_whatever_follows_them(text: str) -> None:
    assert Prompt.parse(text + " {{ question }}").messages("Why?")[0]["content"] == f"{text} Why?"


@pytest.mark.parametrize("text", ["{{% include 'x' %}}", "{{% import 'x' as x %}}", "{{% extends 'x' %}}"])
def test_a_prompt_reads_no_other_file(text: str) -> None:
    with pytest.raises(UserError, match="reads another file"):
        Prompt.parse("{{ question }}" + text)


@pytest.mark.parametrize("text", ["{{ 1 / 0 }}", "{{ question + 1 }}", "{{ question | round }}"])
def test_a_prompt_that_fails_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match="the prompt cannot ask the question 'Why\\?'"):
        Prompt.parse("{{ question }}" + text).messages("Why?")


def test_a_prompt_of_before_templates_is_told_what_to_write() -> None:
    with pytest.raises(UserError, match=r"no \{\{ question \}\} in it \(a single brace is text\)"):
        Prompt.parse("Answer: {question}")
    with pytest.raises(UserError, match="is no template"):
        Prompt.parse("{{ question }} e^{{x}+1}")


def test_a_prompt_runs_no_code() -> None:
    with pytest.raises(UserError, match="unsafe"):
        Prompt.parse("{{ question.__class__.__mro__ }}").messages("Why?")


def test_a_digest_is_that_of_the_text_before_prompts_were_templates() -> None:
    before = "How hard is it?\n\n{question}\n"
    assert text_digest("How hard is it?\n\n{{ question }}\n") == hashlib.sha256(before.encode()).hexdigest()[:16]
    assert text_digest("{{ question }} {{ x }}") == text_digest("{{question}} {{x}}")
    assert text_digest("{{ question }} {x}") != text_digest("{{ question }} {{ x }}")


@pytest.mark.parametrize("path", CATALOG_PROMPTS, ids=lambda path: path.stem)
def test_the_catalogs_prompts_render(path: Path) -> None:
    metadata = {"choices": ["1", "2"], "domain": "math", "answer": "3", "response": "It is 3."}
    messages = Prompt.read(path, may_tell=True).messages("What is {x}?", metadata)
    assert messages[-1]["role"] == "user"
    assert "What is {x}?" in messages[-1]["content"]


def test_no_top_p_and_the_whole_distribution_are_the_same_request() -> None:
    unset = Sampling.parse('{"temperature": 1.0, "top_p": null, "max_tokens": 10}')
    whole = Sampling.parse('{"temperature": 1, "top_p": 1.0, "max_tokens": 10}')
    assert unset.key() == whole.key() == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 10}
    assert unset.body(local=False) == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 10}


def test_a_local_server_is_sent_every_value() -> None:
    body = Sampling(temperature=0.7, max_tokens=10).body(local=True, max_model_len=100)
    assert {"temperature", "top_p", "top_k", "min_p", "max_tokens", "repetition_penalty"} <= set(body)


def test_a_length_beyond_the_models_is_the_models() -> None:
    sampling = Sampling(temperature=1, max_tokens=16800)
    assert "max_tokens" not in sampling.body(local=True, max_model_len=16800)
    assert sampling.body(local=False, modern=True)["max_completion_tokens"] == 16800


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"difficulty": 7, "reasoning": "two ideas"}', 7),
        ('<think>{"difficulty": 1}</think>```json\n{"difficulty": 7, "reasoning": "two ideas"}\n```', 7),
        ('Sure! {"reasoning": "two ideas", "difficulty": 7} Anything else?', 7),
        ('{"difficulty": 7, "reasoning": "two ideas, and then it was cut', 7),
        ('{"difficulty": 7.0, "reasoning": "", "extra": 1}', 7),
        ('{"set": {1, 2}} {"difficulty": 7}', 7),
        ('First {"difficulty": 2}, no: {"difficulty": 7}', 7),
        ('{"difficulty": 7} and by the way {"colour": 1}', 7),
        ('Easy: {"difficulty": 1}</think>{"difficulty": 7}', 7),
        ('<think>{"difficulty": 1} so</think>{"difficulty": 7, "reasoning": "a </think> in it"}', 7),
        ('{"reasoning": "a </think> in it", "difficulty": 7}', 7),
        (r'{"reasoning": "\sqrt{2} and \frac{1}{2}", "difficulty": 7}', 7),
        (r'{"reasoning": "\frac{1}{2", "difficulty": 7}', 7),
        ("{'difficulty': 7, 'reasoning': 'it is'}", 7),
        ('{"difficulty": 7, "reasoning": "two",}', 7),
        ("{difficulty: 7, reasoning: two}", 7),
        ('{"reasoning": "he said "hard" to me", "difficulty": 7}', 7),
        ('{"difficulty": 7, // of ten\n"reasoning": "x"}', 7),
        ('{"reasoning": "two\nlines", "difficulty": 7}', 7),
        ('```json\n[{"difficulty": 7, "reasoning": "x"}]\n```', 7),
        ('{"answer": {"difficulty": 7, "reasoning": "x"}}', 7),
        (r'{"reasoning": "\alpha is cut', None),
        (r'{"difficulty": 7, "reasoning": "\alpha is cut', 7),
        ('<think>Perhaps {"difficulty": 3}, but', None),
        ('<think>Perhaps {"difficulty": 3}</think>I cannot say.', None),
        ('Perhaps {"difficulty": 3}</think>I cannot say.', None),
        ('{"difficulty": 7}</think>', None),
    ],
)
def test_an_answer_is_read_whatever_is_around_it(text: str, value: float | None) -> None:
    assert read_label("difficulty", {"text": text, "error": None}).value == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("It is hard.", "no JSON object"),
        ("", "no JSON object"),
        ('{"difficulty": 11, "reasoning": ""}', "less than or equal to 10"),
        ('{"difficulty": 1', "difficulty: Field required"),
        ('{"reasoning": "cut", "difficulty": 1', "difficulty: Field required"),
        ('{"difficulty": "hard"}', "valid integer"),
        ('{"difficulty": 6.5}', "valid integer"),
        ('{"difficulty": null}', "valid integer"),
    ],
)
def test_an_answer_that_cannot_be_read_says_why(text: str, reason: str) -> None:
    label = read_label("difficulty", {"text": text, "error": None})
    assert label.value is None
    assert "unparseable" in (label.error or "")
    assert reason in (label.error or "")


def test_a_worth_is_a_number_to_100() -> None:
    assert read_label("ask_llm", {"text": '{"response": 62.5, "reasoning": "fine"}', "error": None}).value == 62.5
    assert read_label("ask_llm", {"text": '{"response": 0, "reasoning": "fine"}', "error": None}).value is None


def test_a_failed_completion_is_a_label_without_value() -> None:
    label = read_label("response_length", {"text": None, "error": "refused", "completion_tokens": None})
    assert (label.value, label.error) == (None, "refused")


def test_only_ratings_ask_for_structured_output() -> None:
    assert response_schema("response_length") is None
    schema = response_schema("ask_llm")
    assert schema is not None
    assert set(schema.schema["properties"]) == {"response", "reasoning"}
    with pytest.raises(UserError, match=r"'hardness' \(known: ask_llm, difficulty, response_length\)"):
        response_schema("hardness")


def test_a_formula_in_a_rationale_is_kept() -> None:
    label = read_label("difficulty", {"text": r'{"reasoning": "needs \frac{1}{2}", "difficulty": 7}', "error": None})
    assert label == Label(7.0, r"needs \frac{1}{2}")
