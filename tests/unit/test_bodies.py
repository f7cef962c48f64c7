"""What servers send with status 200, and what is made of it: an answer, or the reason why there is none."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from openthoughts.base.reasoning import without_answer
from openthoughts.inference.bodies import parse_answer, parse_embedding, read_completion
from openthoughts.inference.protocol import (
    EMPTY_ATTEMPTS,
    EmptyAnswerError,
    FatalError,
    PaidError,
    PassingError,
    RefusedError,
)
from openthoughts.inference.thinking import error_of_answer, finish_reason, split_thinking, whole_text


def completion(message: Any, finish: Any = "stop", **further: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "finish_reason": finish, "message": message}], **further}


def said(content: Any, **further: Any) -> dict[str, Any]:
    return completion({"role": "assistant", "content": content, **further})


def part(text: str, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "text": text}


@pytest.mark.parametrize(
    ("body", "text", "reasoning"),
    [
        (said("4"), "4", None),
        (said(" 4\n"), " 4\n", None),
        (said(part("4")), "4", None),
        (said({"text": "4"}), "4", None),
        (said([{"type": "text", "text": {"value": "4"}}]), "4", None),
        (said([None, part("4"), None]), "4", None),
        (said("4", thinking="Hm."), "4", "Hm."),
        (said("4", thinking_blocks=[{"type": "thinking", "thinking": "Hm.", "signature": "s"}]), "4", "Hm."),
        (said([part("Hm.", "reasoning_text"), part("4")]), "4", "Hm."),
        (said([{"type": "thought", "thought": "Hm."}, part("4")]), "4", "Hm."),
        (said([{"type": "think", "think": "Hm."}, part("4")]), "4", "Hm."),
        (said([{"type": "think", "text": "Hm."}, part("4")]), "4", "Hm."),
        (said([{"type": "text", "text": "Hm.", "thought": True}, part("4")]), "4", "Hm."),
        (said([{"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}}, {"text": "4"}]), "4", "Hm."),
        (said([{"type": "reasoningContent", "reasoningContent": "Hm."}, part("4")]), "4", "Hm."),
        (said("4", reasoning_details=[7, part("Hm.", "reasoning.text"), {"type": 3}]), "4", "Hm."),
        (said([{"type": "thinking", "thinking": [3, part("Hm.")]}, part("4")]), "4", "Hm."),
        (said("4", reasoning_details=[json.loads('{"thinking":[' * 150 + "]}" * 150)]), "4", None),
        (said([part("2 and "), part("2 are 4")]), "2 and 2 are 4", None),
        (said([part("4", "output_text")]), "4", None),
        (said(["2 and ", part("2")]), "2 and 2", None),
        (said([{"type": "thinking", "thinking": "Hm."}, part("4")]), "4", "Hm."),
        (said([{"type": "thinking", "thinking": [part("Hm"), part(".")]}, part("4")]), "4", "Hm."),
        (said([part("Hm.", "reasoning"), part("4")]), "4", "Hm."),
        (said([{"type": "reasoning", "summary": [part("Hm.", "summary_text")]}, part("4")]), "4", "Hm."),
        (said([{"type": "redacted_thinking", "data": "x"}, part("4")]), "4", None),
        (said("4", reasoning_content="Hm."), "4", "Hm."),
        (said("4", reasoning="Hm."), "4", "Hm."),
        (said("4", reasoning_content="Hm.", reasoning="Hm."), "4", "Hm."),
        (said("4", reasoning_content="", reasoning="Hm."), "4", "Hm."),
        (said("4", reasoning_content=None), "4", None),
        (said("4", reasoning_content=[part("Hm.")]), "4", "Hm."),
        (said("4", reasoning_details=[part("Hm.", "reasoning.text")]), "4", "Hm."),
        (said("4", reasoning="Hm.", reasoning_details=[part("Hm.", "reasoning.text")]), "4", "Hm."),
        (said("4", tool_calls=[]), "4", None),
        (said("4", reasoning={"effort": "low"}), "4", None),
        (said("4", refusal=False), "4", None),
        (said("4", reasoning=4), "4", None),
        (said("4", reasoning_details={"a": 1}), "4", None),
        (said([{"type": "reasoning", "summary": {"a": 1}}, part("4")]), "4", None),
        (said([part("4"), {"type": "reference", "reference_ids": [1]}]), "4", None),
        (completion({"content": "4"}, finish=1), "4", None),
        (said("4", tool_calls=[{"function": {"name": "add"}}]), "4", None),
        (said("4", annotations=[1], audio=None), "4", None),
        (said("", reasoning_content="Hm"), "", "Hm"),
        (said(None, reasoning_content="Hm"), "", "Hm"),
        (said("half a pair: \ud83d"), "half a pair: �", None),
        (said([part("half \ud83d")], reasoning="\ud83d"), "half �", "�"),
        (completion({"content": "4"}, finish=None), "4", None),
        (completion({"content": "4"}, usage=None), "4", None),
        (completion({"content": "4"}, usage=[]), "4", None),
        (completion({"content": "4"}, usage={"prompt_tokens": "7"}), "4", None),
        (completion({"content": "4"}, error=None), "4", None),
    ],
)
def test_an_answer_is_read_in_whatever_form_it_comes(body: Any, text: str, reasoning: str | None) -> None:
    answer = parse_answer(json.dumps(body).encode())
    assert (answer.text, answer.reasoning, answer.error) == (text, reasoning, None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (said(None), "is empty"),
        (said(""), "is empty"),
        (said(" \n\t"), "is empty"),
        (said([]), "is empty"),
        (said([part("")]), "is empty"),
        (said([None]), "is empty"),
        (said("", reasoning_content=" "), "is empty"),
        (completion({"content": ""}, finish="length"), "is empty"),
        (completion({}), "is empty"),
        (
            said(None, tool_calls=[{"function": {"name": "add", "arguments": "{}"}}]),
            r"called a tool \(add\)",
        ),
        (said(None, function_call={"name": "add"}), r"called a tool \(add\)"),
        (said([{"type": "image_url", "image_url": {"url": "x"}}]), r"is no text \(image_url\)"),
    ],
)
def test_an_empty_answer_is_none(body: Any, reason: str) -> None:
    with pytest.raises(EmptyAnswerError, match=reason):
        parse_answer(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        said(4), said(4.5), said(True), said({"answer": 4}), said([4]), said([{"type": 3, "text": "4"}]),
        said([{"type": "text", "text": 4}]), completion(None), completion("4"), completion([]),
        completion({"content": "4"}, finish="abort"), completion({"content": "4"}, finish={"type": "abort"}),
        completion({"content": "4"}, finish=" Error "), {"choices": []}, {"choices": None}, {"choices": {}}, {}, [], 4,
        None, "4", {"choices": [None]}, {"choices": [{"text": "4"}]}, {"object": "error", "message": "gone"},
        {"error": "overloaded"}, {"error": {"code": 503, "message": "x"}}, {"error": {"code": 429, "message": "x"}},
        {"error": {"message": None}}, {"error": ["x"], "choices": []},
    ],
)  # fmt: skip
def test_what_is_no_completion_is_asked_for_again(body: Any) -> None:
    with pytest.raises(PassingError) as caught:
        parse_answer(json.dumps(body).encode())
    assert not isinstance(caught.value, PaidError)
    assert len(str(caught.value)) < 400


PAID = {"prompt_tokens": 3, "completion_tokens": 5}


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"finish_reason": "stop"}], "usage": PAID}, {**said(4), "usage": PAID},
        {**said([{"type": 3}]), "usage": PAID}, {"choices": [], "usage": PAID},
        {"output": 4, "usage": {"input_tokens": 3, "output_tokens": 5}},
    ],
)  # fmt: skip
def test_what_was_paid_for_and_cannot_be_read_keeps_its_tokens_and_is_asked_for_as_often_as_an_empty_answer(
    body: Any,
) -> None:
    with pytest.raises(PaidError, match="the response is not") as caught:
        read_completion(body)
    failure = caught.value.after_all()
    assert caught.value.attempts == EMPTY_ATTEMPTS
    assert (failure.text, failure.prompt_tokens, failure.completion_tokens) == (None, 3, 5)
    assert failure.response["usage"] == body["usage"]


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}, (7, 9)),
        ({"input_tokens": 7, "output_tokens": 9}, (7, 9)),
        ({"prompt_tokens": 7, "total_tokens": 16}, (7, 9)),
        (
            {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 16,
             "completion_tokens_details": {"reasoning_tokens": 7}},
            (7, 9),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16,
             "completion_tokens_details": {"reasoning_tokens": 7}},
            (7, 9),
        ),
        ({"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 99, "completion_tokens_details": [1]}, (7, 9)),
        ({"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 0}, (7, 9)),
        ({"total_tokens": 16}, (None, None)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("answered", [said("4"), {"output": [{"type": "message", "content": "4"}]}])
def test_tokens_are_counted_with_those_of_the_thinking(answered: Any, usage: Any, tokens: Any) -> None:
    answer = read_completion({**answered, "usage": usage})
    assert (answer.prompt_tokens, answer.completion_tokens) == tokens


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"choices": [', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_asked_for_again(content: bytes) -> None:
    with pytest.raises(PassingError, match="no JSON"):
        parse_answer(content)


def test_an_error_of_status_200_means_what_its_code_means() -> None:
    with pytest.raises(FatalError, match="refuses the key"):
        read_completion({"error": {"code": 401, "message": "who are you?"}})
    with pytest.raises(RefusedError) as caught:
        read_completion({"error": {"code": "400", "message": "maximum context length is 10"}})
    assert caught.value.is_about_the_question


@pytest.mark.parametrize("error", [
    {"code": 402, "message": "Insufficient credits"}, {"message": "Insufficient Balance", "type": "unknown_error"},
    {"code": "insufficient_quota", "message": "x"}, "Your credit balance is too low",
])  # fmt: skip
def test_an_account_without_credit_ends_the_run(error: Any) -> None:
    for body in ({"error": error}, {"choices": [{"error": error, "message": {"content": "I"}}]}):
        with pytest.raises(FatalError, match=r"is used up \(.*add credit"):
            read_completion(body)


def test_an_error_of_a_choice_means_what_an_error_means_and_is_kept() -> None:
    choice = {"finish_reason": "error", "error": {"code": 502, "message": "upstream"}, "message": {"content": "I"}}
    with pytest.raises(PassingError, match="502: upstream") as passing:
        read_completion({"choices": [choice], "usage": PAID})
    assert passing.value.answer
    assert (passing.value.answer.response["choices"], passing.value.answer.completion_tokens) == ([choice], 5)
    choice["error"] = {"code": 403, "message": "Your input was flagged"}
    with pytest.raises(RefusedError, match="flagged") as refused:
        read_completion({"choices": [choice]})
    assert refused.value.is_about_the_question
    assert refused.value.answer and refused.value.answer.response["choices"] == [choice]


@pytest.mark.parametrize(
    "usage",
    ["[1]", '"x"', "7", '{"prompt_tokens": NaN}', '{"prompt_tokens": 1' + "0" * 30 + "}", '{"prompt_tokens": "7"}'],
)
def test_odd_counts_of_an_embedding_are_unknown(usage: str) -> None:
    answer = parse_embedding(f'{{"data": [{{"embedding": [0.5]}}], "usage": {usage}}}'.encode())
    assert (answer.text, answer.prompt_tokens) == ("AAAAPw==", None)
    json.dumps(answer.response, allow_nan=False)


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[]", b"4", b'{"data": [{"embedding": ["x"]}]}', b'{"data":' * 30_000, b'{"error": {"code": 503}}'],
)
def test_what_is_no_embedding_is_asked_for_again(content: bytes) -> None:
    with pytest.raises(PassingError):
        parse_embedding(content)


def test_an_embedding_that_was_paid_for_and_cannot_be_read_keeps_its_tokens() -> None:
    with pytest.raises(PaidError, match="is not an embedding") as caught:
        parse_embedding(b'{"data": [], "usage": {"prompt_tokens": 3}}')
    assert caught.value.after_all().prompt_tokens == 3


@pytest.mark.parametrize("message", [
    {"content": None, "refusal": "I cannot."}, {"content": "", "refusal": "I cannot."},
    {"content": [{"type": "refusal", "refusal": "I cannot."}]}, {"content": " ", "refusal": "I cannot."},
])  # fmt: skip
def test_a_refusal_is_a_failure_with_its_reason(message: Any) -> None:
    answer = read_completion(completion(message))
    assert (answer.text, answer.error) == (None, "refused by the model: I cannot.")


@pytest.mark.parametrize(
    ("finish", "error"),
    [
        ("content_filter", "refused by the content filter"),
        (" SAFETY\n", "refused by the content filter (SAFETY)"),
        ("guardrail_intervened", "refused by the content filter (guardrail_intervened)"),
        ({"type": "content_filter"}, "refused by the content filter"),
        *((name, f"refused by the content filter ({name})") for name in
          ("SPII", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "RECITATION", "IMAGE_SAFETY")),
        ("refusal", "refused by the model"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("content", ["I", "", None])
def test_an_answer_that_was_filtered_is_a_failure_with_the_reason(finish: Any, content: Any, error: str) -> None:
    answer = read_completion(completion({"content": content}, finish=finish))
    assert (answer.text, answer.finish_reason, answer.error) == (None, None, error)


def test_the_message_is_kept_where_the_answer_does_not_say_it_all() -> None:
    message = {"content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, part("4")]}
    assert read_completion(completion(message)).response == {"id": "c1", "message": message}
    assert read_completion(said("4")).response == {"id": "c1"}


@pytest.mark.parametrize(
    ("text", "reasoning", "finish", "whole"),
    [
        ("4", None, "stop", "4"),
        ("4", "Hm.", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("4", "\nHm.\n", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("", "Hm", "length", "<think>\nHm"),
        ("<think>\nHm.\n</think>\n\n4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<think>Hm.</think>4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("Hm.\n</think>\n\n4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<think>\nHm.\n</think>\n\n4", "Hm.", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<think>\n\n</think>\n\n4", None, "stop", "<think>\n\n</think>\n\n4"),
        ("<think>\nHm", None, "length", "<think>\nHm"),
        ("Write </think> last: <think>", "Hm.", "stop", "<think>\nHm.\n</think>\n\nWrite </think> last: <think>"),
        ('{"why": "a \\"</think>\\" in it"}', None, "stop", '{"why": "a \\"</think>\\" in it"}'),
        ('{"easy": "yes"}</think>4', None, "stop", '<think>\n{"easy": "yes"}\n</think>\n\n4'),
        ("4", "<think>\nHm.\n</think>", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("4", "Hm.\n</think>", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("4", "a</think>\n<think>b", "stop", "<think>\na\n\nb\n</think>\n\n4"),
        ("</think>\n\n4", "Hm.", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("Hm.\n</think>\n\n4", "<think>\nHm.\n</think>", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<think>Hm", "Hm", "length", "<think>\nHm"),
        ("", "<think>\n</think>", "stop", None),
        ("<think>", "<think>", "length", None),
        ("\ufeff<think>Hm.</think>4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("\u200b\n<THINK>Hm.</THINK>4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("assistant\n<think>Hm.</think>4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<reasoning>Hm.</reasoning>4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<seed:think>Hm.</seed:think>4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("◁think▷Hm.◁/think▷4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<thinking>a</thinking> <thinking>b</thinking>4", None, "stop", "<think>\na\n\nb\n</think>\n\n4"),
        (
            "<|begin_of_thought|>\nHm.\n<|end_of_thought|>\n\n<|begin_of_solution|>\n4\n<|end_of_solution|>",
            None, "stop", "<think>\nHm.\n</think>\n\n4",
        ),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>",
            None, "stop", "<think>\nHm.\n</think>\n\n4",
        ),
        (
            "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>4<|return|>",
            None, "stop", "<think>\nHm.\n</think>\n\n4",
        ),
        ("<|channel|>final<|message|>4<|return|>", "Hm.", "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<|channel|>analysis<|message|>Hm", None, "length", "<think>Hm"),
        ("<thinking>Hm.</think>4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<think>Hm.</think>\n</think>\n4", None, "stop", "<think>\nHm.\n</think>\n\n4"),
        ("<thinking>Hm.</think>.</thinking>4", "Hm", "stop", "<think>\nHm..\n</think>\n\n4"),
        ("It ends with <|end|>", None, "stop", "It ends with <|end|>"),
        ("The tags <reasoning>x</reasoning>", None, "stop", "The tags <reasoning>x</reasoning>"),
        ("assistant\n4", None, "stop", "assistant\n4"),
        ("The tags <think> and </think>", None, "stop", "The tags <think> and </think>"),
        ("", None, "stop", None),
        (" \n", None, "stop", None),
        (None, None, None, None),
    ],
)  # fmt: skip
def test_thinking_has_one_form(text: str | None, reasoning: str | None, finish: str | None, whole: str | None) -> None:
    schema = dict.fromkeys(("text", "reasoning", "finish_reason", "error"), pl.String)
    stored = pl.DataFrame([(text, reasoning, finish, None)], schema=schema, orient="row")
    kept = split_thinking(stored).with_columns(text=whole_text(), error=error_of_answer())
    assert kept["text"].to_list() == [whole]
    assert (kept["error"].to_list() == [None]) == (whole is not None)


def test_thinking_without_an_answer_stays_without_one() -> None:
    sent = [("", "Hm.</think>"), ("</think>\n\n", "Hm."), ("", "Hm.</think>4"), ("<REASONING>Hm.</REASONING>", None)]
    stored = pl.DataFrame([(*one, "stop") for one in sent], schema=["text", "reasoning", "finish_reason"], orient="row")
    kept = split_thinking(stored).with_columns(text=whole_text())
    assert kept.select(without_answer(pl.col("text"), pl.col("finish_reason"))).to_series().all()


@pytest.mark.parametrize(
    ("name", "end"),
    [("model_context_window_exceeded", "length"), (" Pause_Turn ", "length"), ("repetition_truncation", "length"),
     ("END_TURN\n", "stop"), ("else", "else")],
)  # fmt: skip
def test_why_an_answer_ended_has_one_name(name: str, end: str) -> None:
    assert pl.DataFrame({"finish_reason": [name]}).select(finish_reason()).item() == end
