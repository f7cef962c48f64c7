"""The Responses API: the body of a request, and what is made of the body of a response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from tests import fake_responses

from openthoughts.inference.batch_files import read_result
from openthoughts.inference.bodies import parse_answer, read_completion
from openthoughts.inference.protocol import EmptyAnswerError, PassingError, RefusedError
from openthoughts.inference.structured import Form, ResponseSchema
from openthoughts.models.request_form import RequestForm
from openthoughts.plan.settings.entries import Model

USAGE = {"input_tokens": 7, "output_tokens": 9, "total_tokens": 16, "output_tokens_details": {"reasoning_tokens": 4}}


def response(*output: Any, status: str | None = "completed", **further: Any) -> dict[str, Any]:
    about = {"id": "resp_1", "object": "response", "model": "pro-1", "error": None, "incomplete_details": None}
    return {**about, "status": status, "output": list(output), "usage": USAGE, **further}


def message(*parts: Any, **further: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "status": "completed", "content": list(parts), **further}


def text(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": []}


def thought(*summary: str, content: tuple[str, ...] | None = None) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA"}
    item["summary"] = [{"type": "summary_text", "text": words} for words in summary]
    if content is not None:
        item["content"] = [{"type": "reasoning_text", "text": words} for words in content]
    return item


PART = {"type": "summary_text", "text": "Hm."}


def cut(*output: Any, reason: str | None = "max_output_tokens") -> dict[str, Any]:
    return response(*output, status="incomplete", incomplete_details={"reason": reason})


@pytest.mark.parametrize(
    ("body", "words", "thinking", "finish"),
    [
        (response(message(text("4"))), "4", None, "stop"),
        (response(message(text("2 and "), text("2 are 4"))), "2 and 2 are 4", None, "stop"),
        (response(message(text("2 and ")), message(text("2"))), "2 and 2", None, "stop"),
        (response(thought(), message(text("4"))), "4", None, "stop"),
        (response(thought("Hm."), message(text("4"))), "4", "Hm.", "stop"),
        (response(thought("**One**", "**Two**"), message(text("4"))), "4", "**One**\n\n**Two**", "stop"),
        (response(thought("Short.", content=("Long", "er.")), message(text("4"))), "4", "Longer.", "stop"),
        (response(thought("Short.", content=()), message(text("4"))), "4", "Short.", "stop"),
        (response(thought("A."), message(text("4")), thought("B.")), "4", "A.\n\nB.", "stop"),
        (response(message(text("I begin."), phase="commentary"), message(text("4"))), "4", "I begin.", "stop"),
        (response({"type": "web_search_call", "id": "w"}, message(text("4"))), "4", None, "stop"),
        (response(message(text("4"), {"type": "refusal", "refusal": ""})), "4", None, "stop"),
        (response(message(text("4")), status=None), "4", None, "stop"),
        (response(message(text("4")), usage=None), "4", None, "stop"),
        (response(message(text("half \ud83d"))), "half �", None, "stop"),
        (cut(message(text("The ans"), status="incomplete")), "The ans", None, "length"),
        (cut(thought("Hm")), "", "Hm", "length"),
        (cut(message(text("4")), reason=" MAX_TOKENS"), "4", None, "length"),
        (response({"type": "reasoning", "summary": [7, PART]}, message(None, text("4"))), "4", "Hm.", "stop"),
        (response({"type": "reasoning", "summary": 7}, message(text("4"))), "4", None, "stop"),
        ({"output": [{"type": "message", "content": "4"}]}, "4", None, "stop"),
    ],
)
def test_an_answer_is_read_with_its_thinking(
    body: dict[str, Any], words: str, thinking: str | None, finish: str
) -> None:
    answer = parse_answer(json.dumps(body).encode())
    assert (answer.text, answer.reasoning, answer.finish_reason, answer.error) == (words, thinking, finish, None)


def test_tokens_are_counted_by_their_names_there() -> None:
    answer = read_completion(response(message(text("4"))))
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 9)
    assert answer.response == {"id": "resp_1", "model": "pro-1", "usage": USAGE}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (response(message({"type": "refusal", "refusal": "I cannot."})), "refused by the model: I cannot."),
        (response(thought("Hm."), message({"type": "refusal", "refusal": "No."})), "refused by the model: No."),
        (cut(message(text("It be")), reason="content_filter"), "refused by the content filter"),
        (cut(reason="content_filter"), "refused by the content filter"),
        (cut(message(text("It be")), reason="SAFETY"), "refused by the content filter (SAFETY)"),
    ],
)
def test_a_refusal_is_a_failure_with_its_reason(body: dict[str, Any], error: str) -> None:
    answer = read_completion(body)
    assert (answer.text, answer.error) == (None, error)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (response(), "is empty"),
        (response(message(text(" \n"))), "is empty"),
        (response(thought()), "is empty"),
        (cut(thought()), "is empty"),
        (response({"type": "function_call", "name": "add", "arguments": "{}"}), r"called a tool \(add\)"),
        (response(message({"type": "output_image", "image": "x"})), r"is no text \(output_image\)"),
    ],
)
def test_an_empty_answer_is_none(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(EmptyAnswerError, match=reason):
        parse_answer(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (response(status="failed", error={"code": "server_error", "message": "sorry"}), "sorry"),
        (response(status="failed"), r"broke off \(failed\)"),
        (response(status="cancelled"), r"broke off \(cancelled\)"),
        (response(status="in_progress"), r"broke off \(in_progress\)"),
        (cut(message(text("4")), reason="steered"), r"broke off \(steered\)"),
        (cut(message(text("4")), reason=None), r"broke off \(incomplete\)"),
        ({"object": "response", "output": "4"}, r"not a response of the Responses API \(output: "),
        ({"object": "response"}, r"not a response of the Responses API \(output: "),
        (response(4), "not a response of the Responses API"),
        (response(message(4)), "not a response of the Responses API"),
        (response(message({"type": "output_text", "text": 4})), "not a response of the Responses API"),
    ],
)
def test_what_is_no_response_is_asked_for_again(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(PassingError, match=reason) as caught:
        parse_answer(json.dumps(body).encode())
    assert not isinstance(caught.value, EmptyAnswerError)


def test_the_code_of_a_failure_says_whether_it_can_pass() -> None:
    with pytest.raises(PassingError) as limited:
        read_completion(response(status="failed", error={"code": "rate_limit_exceeded", "message": "slow down"}))
    assert limited.value.is_limit
    for code in ("invalid_prompt", "bio_policy", "misalignment_policy_violation"):
        with pytest.raises(RefusedError) as refused:
            read_completion(response(status="failed", error={"code": code, "message": "not this"}))
        assert refused.value.is_about_the_question


def test_a_line_of_a_batch_is_read_by_the_same_rules() -> None:
    line = {"response": {"status_code": 200, "body": response(thought("Hm."), message(text("4")))}}
    answer = read_result(line)
    assert not isinstance(answer, RefusedError)
    assert (answer.text, answer.reasoning) == ("4", "Hm.")


class Verdict(Form):
    """Whether it is right."""

    right: bool


BODY: dict[str, Any] = {
    "model": "m",
    "temperature": 1.0,
    "top_p": 1.0,
    "max_tokens": 100,
    "reasoning_effort": "low",
    "response_format": ResponseSchema.of(Verdict, "verdict").response_format(),
    "messages": [{"role": "user", "content": "?"}],
    "seed": 1,
}


def test_a_request_is_one_of_the_responses_api() -> None:
    form = RequestForm.model_validate({"api": "responses"})
    body = form.shape(BODY)
    assert fake_responses.problem(body) is None
    assert body == {
        "model": "m",
        "temperature": 1.0,
        "top_p": 1.0,
        "max_output_tokens": 100,
        "reasoning": {"effort": "low"},
        "text": {
            "format": {
                "type": "json_schema",
                "name": "verdict",
                "schema": BODY["response_format"]["json_schema"]["schema"],
                "strict": True,
            }
        },
        "input": BODY["messages"],
        "store": False,
    }
    assert form.shape({**BODY, "max_completion_tokens": 5})["max_output_tokens"] == 5


@pytest.mark.parametrize(
    ("changes", "gone", "there"),
    [
        ({"omit": ["top_p", "temperature"]}, {"top_p", "temperature"}, {}),
        ({"omit": ["max_tokens"]}, {"max_tokens", "max_output_tokens"}, {}),
        ({"omit": ["max_output_tokens"]}, {"max_tokens", "max_output_tokens"}, {}),
        ({"omit": ["store", "reasoning"]}, {"store", "reasoning", "reasoning_effort"}, {}),
        ({"rename": {"seed": "seed"}}, set(), {"seed": 1}),
        ({"rename": {"max_tokens": "length"}}, {"max_tokens", "max_output_tokens"}, {"length": 100}),
        ({"add": {"store": True}}, set(), {"store": True}),
        ({"add": {"reasoning": {"summary": "auto"}}}, set(), {"reasoning": {"effort": "low", "summary": "auto"}}),
        ({"add": {"reasoning": {"effort": "high"}}}, set(), {"reasoning": {"effort": "high"}}),
    ],
)
def test_omit_rename_and_add_change_it(changes: dict[str, Any], gone: set[str], there: dict[str, Any]) -> None:
    body = RequestForm.model_validate({"api": "responses", **changes}).shape(BODY)
    assert not gone & set(body)
    assert {key: body[key] for key in there} == there


def test_the_verbosity_of_an_entry_does_not_take_the_schema_away() -> None:
    body = RequestForm.model_validate({"api": "responses", "add": {"text": {"verbosity": "low"}}}).shape(BODY)
    assert set(body["text"]) == {"format", "verbosity"}


def test_a_form_without_an_api_has_the_identity_that_it_had() -> None:
    assert RequestForm.model_validate({"omit": ["seed"]}).identity() == {"omit": ["seed"]}
    assert RequestForm.model_validate({"api": "responses"}).identity() == {"api": "responses"}
    assert RequestForm().shape(BODY) == BODY


def test_a_model_of_embeddings_has_no_responses() -> None:
    entry = {"kind": "api", "api_model": "e", "base_url": "https://a.b/v1", "request": {"api": "responses"}}
    assert Model.model_validate(entry).request is not None
    with pytest.raises(ValidationError, match="no embeddings"):
        Model.model_validate({**entry, "task": "embed"})
    with pytest.raises(ValidationError):
        Model.model_validate({**entry, "request": {"api": "answers"}})
