"""The client against a server that is wrong in every way: real HTTP on loopback."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest
from pydantic import ValidationError
from tests.fake_openai import API_KEY, MODEL, FakeServer, Fault

from openthoughts.inference.client import Client
from openthoughts.inference.pace import Limits
from openthoughts.inference.protocol import (
    PAID_BEFORE,
    Answer,
    FatalError,
    Request,
    duration,
    is_about_the_question,
    is_used_up,
    remedy,
    retry_after,
)
from openthoughts.models.request_form import RequestForm


@dataclass
class Address:
    base_url: str
    api_key: str = API_KEY
    model_name: str = MODEL


def wanted(count: int) -> list[Request]:
    return [Request(f"k{i}", f"q{i}", 0, i, [{"role": "user", "content": f"question {i}"}]) for i in range(count)]


def ask(
    server: FakeServer | Address,
    requests: list[Request],
    stop_after: int | None = None,
    grace: float = 1.0,
    local: bool = True,
    form: RequestForm | None = None,
    answers: dict[str, Answer] | None = None,
    **limits: float,
) -> dict[str, Answer]:
    """The answers to requests; ``answers`` takes them, too, of a run that ends in an error."""
    answers = {} if answers is None else answers
    stopping = asyncio.Event()
    address = server if isinstance(server, Address) else Address(server.base_url)

    def answered(request: Request, answer: Answer) -> None:
        assert request.key not in answers
        answers[request.key] = answer
        if len(answers) == stop_after:
            stopping.set()

    async def run() -> None:
        settings = {"temperature": 1.0, "max_tokens": 100}
        allowed = Limits(**{"concurrency": 4, "timeout": 5.0, "pause": 0.01, **limits})  # type: ignore[arg-type]
        async with Client(address, settings, allowed, local=local, form=form) as client:
            await client.run(iter(requests), answered, stopping, grace)

    asyncio.run(run())
    return answers


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=502),
        Fault(status=503, headers={"retry-after": "0"}),
        Fault(status=504),
        Fault(status=429),
        Fault(status=429, headers={"retry-after": "0.05"}),
        Fault(status=408),
        Fault(status=425),
        Fault(status=498),
        Fault(cut=True),
        Fault(malformed=True),
        Fault(content_type="text/html"),
        Fault(answer={"finish_reason": "abort", "content": "half an ans"}),
    ],
    ids=lambda fault: str(fault.status) + "".join(fault.headers) + fault.content_type[-4:] + str(fault.cut),
)
def test_what_can_pass_is_tried_again(fault: Fault) -> None:
    with FakeServer() as server:
        fault.times = 5
        server.faults.append(fault)
        answers = ask(server, wanted(20))
        assert len(answers) == 20
        assert all(answer.error is None and answer.text for answer in answers.values())
        assert sum(server.asked.values()) == 25


def test_any_number_of_empty_answers_are_failures_with_what_they_cost() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(answer={"content": "", "finish_reason": "length"}))
        answers = ask(server, wanted(40))
        assert {answer.error for answer in answers.values()} == {"the answer is empty, 2 times"}
        assert {(answer.text, answer.finish_reason) for answer in answers.values()} == {(None, "length")}
        assert all(answer.completion_tokens == 2 for answer in answers.values()), "both attempts are paid for"
        assert sum(server.asked.values()) == 80


def test_an_empty_answer_before_the_answer_is_paid_for() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(answer={"content": ""}, times=1))
        (answer,) = ask(server, wanted(1)).values()
        assert (answer.error, answer.response[PAID_BEFORE]) == (None, [answer.prompt_tokens, 1])


def test_a_hang_ends_with_the_timeout() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(hang=True, times=2))
        answers = ask(server, wanted(8), timeout=1.0)
        assert len(answers) == 8
        assert all(answer.text for answer in answers.values())


def test_a_question_that_never_gets_an_answer_is_a_failure_of_its_own() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(status=500, where=lambda body: body["messages"][0]["content"] == "question 3"))
        answers = ask(server, wanted(10))
        assert answers["k3"].text is None
        assert "500" in (answers["k3"].error or "")
        assert sum(answer.error is None for answer in answers.values()) == 9


def test_an_outage_fails_the_run_and_no_question() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(status=503, message="down for maintenance"))
        answers: dict[str, Answer] = {}
        with pytest.raises(FatalError, match=r"answers nothing.*down for maintenance"):
            ask(server, wanted(40), answers=answers)
        assert answers == {}


def test_a_setting_that_the_server_never_takes_fails_the_run_and_no_question() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(status=400, message="unknown parameter: top_k"))
        answers: dict[str, Answer] = {}
        with pytest.raises(FatalError, match="unknown parameter: top_k"):
            ask(server, wanted(3), answers=answers)
        assert answers == {}


@pytest.mark.parametrize(
    ("message", "request_of_the_entry"),
    [
        ("Unsupported parameter: 'top_p' is not supported with this model.", "{omit: [top_p]}"),
        ("Unsupported value: 'temperature' does not support 0.2 with this model.", "{omit: [temperature]}"),
        ("Unknown parameter: 'reasoning.effort'.", "{omit: [reasoning]}"),
        ("Unrecognized request argument supplied: top_k", "{omit: [top_k]}"),
        ("unknown parameter: seed", "{omit: [seed]}"),
        ("`temperature` and `top_p` cannot both be specified for this model.", "{omit: [top_p]}"),
        ("[{'loc': ('body', 'min_p'), 'msg': 'Extra inputs are not permitted'}] (unknown field)", "{omit: [min_p]}"),
        ("Unsupported parameter: 'messages'.", "{omit: [...]}"),
        ("This model does not support this value.", "{omit: [...]}"),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead.",
            "{rename: {max_tokens: max_completion_tokens}}",
        ),
        ("This model is only supported in v1/responses and not in v1/chat/completions.", "{api: responses}"),
    ],
)
def test_a_refusal_comes_with_the_key_that_helps(message: str, request_of_the_entry: str) -> None:
    assert f"`request: {request_of_the_entry}` in its entry" in remedy(f"refused (400: {message})")


def test_a_model_that_refuses_what_is_sent_is_asked_in_its_own_form() -> None:
    refused = ("temperature", "seed", "max_tokens")
    form = RequestForm(
        omit=("temperature", "seed"),
        rename={"max_tokens": "max_completion_tokens"},
        add={"reasoning": {"effort": "low"}},
    )
    with FakeServer() as server:
        for key in refused:
            message = f"Unsupported parameter: '{key}' is not supported with this model."
            server.faults.append(Fault(status=400, message=message, where=lambda body, key=key: key in body))
        with pytest.raises(FatalError, match=r"leave out what the model refuses with `request: \{omit"):
            ask(server, wanted(2), local=False)
        answers = ask(server, wanted(2), local=False, form=form)
        assert all(answer.text for answer in answers.values())
        assert set(server.bodies[-1]) == {"model", "messages", "max_completion_tokens", "reasoning"}


def test_what_is_asked_is_no_setting_to_leave_out() -> None:
    with pytest.raises(ValidationError, match="messages is what is asked"):
        RequestForm(omit=("messages",))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=400, message="maximum context length is 2048 tokens", code="context_length_exceeded"), "context"),
        (Fault(status=400, message="flagged", code="content_filter"), "flagged"),
        (Fault(status=403, message="Content violates usage guidelines."), "usage guidelines"),
        (Fault(status=403, message="Your model requires moderation and your input was flagged"), "moderation"),
        (Fault(answer={"finish_reason": "content_filter", "content": "I"}), "content filter"),
        (Fault(answer={"content": None, "refusal": "I cannot help with that"}), "I cannot help"),
    ],
    ids=["too long", "filtered before", "guidelines", "moderation", "filtered after", "refused"],
)
def test_what_cannot_pass_is_a_failure_with_its_reason(fault: Fault, reason: str) -> None:
    with FakeServer() as server:
        fault.where = lambda body: body["seed"] == 2
        server.faults.append(fault)
        answers = ask(server, wanted(5), local=False)
        assert answers["k2"].text is None
        assert reason in (answers["k2"].error or "")
        assert server.asked.total() == 5


def test_a_length_that_does_not_fit_is_left_to_the_local_server() -> None:
    message = "'max_tokens' or 'max_completion_tokens' is too large: 100"
    with FakeServer() as server:
        server.faults.append(Fault(status=400, message=message, where=lambda body: "max_tokens" in body))
        answers = ask(server, wanted(3))
        assert all(answer.text for answer in answers.values())
        assert "max_tokens" not in server.bodies[-1]


def test_an_answer_cut_at_its_length_is_a_result() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(answer={"finish_reason": "length", "content": "on and on"}))
        answer = ask(server, wanted(1))["k0"]
        assert (answer.text, answer.finish_reason, answer.error) == ("on and on", "length", None)


def test_reasoning_that_the_server_splits_off_is_kept() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(answer={"content": "4", "reasoning_content": "2 and 2"}))
        answer = ask(server, wanted(1))["k0"]
        assert (answer.text, answer.reasoning) == ("4", "2 and 2")


def test_text_is_valid_unicode() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(answer={"content": "half a pair: \ud83d, whole: \U0001f600"}))
        assert ask(server, wanted(1))["k0"].text == "half a pair: �, whole: \U0001f600"


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, None, "refuses the key"),
        (403, None, "refuses the key"),
        (402, None, r"used up \(no, \*\*\*\): add credit"),
        (400, "insufficient_balance", "used up"),
        (404, None, "does not know the model"),
        (429, "insufficient_quota", "used up"),
    ],
)
def test_what_is_wrong_for_all_ends_the_run_at_once(status: int, code: str | None, sentence: str) -> None:
    with FakeServer() as server:
        server.faults.append(Fault(status=status, code=code, message=f"no, {API_KEY}"))
        with pytest.raises(FatalError, match=sentence) as raised:
            ask(server, wanted(100))
        assert API_KEY not in str(raised.value)
        assert server.asked.total() <= 4


def test_an_account_that_is_flagged_is_refused_and_no_question() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(status=403, message="Your account was flagged for a violation of our policies"))
        with pytest.raises(FatalError, match="refuses the key"):
            ask(server, wanted(3), local=False)


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 207310 tokens > 200000 maximum",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Input is too long for requested model.",
        "the request exceeds the available context size. try increasing the context size",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 and 100",
        "Content Exists Risk",
        "data_inspection_failed: Input data may contain inappropriate content.",
        "Your request was rejected as a result of our safety system.",
    ],
)
def test_what_is_wrong_with_a_question_is_said_in_many_words(message: str) -> None:
    assert is_about_the_question(None, message)


@pytest.mark.parametrize(
    "message",
    [
        *("Unknown parameter: 'safety_identifier'.", "Unknown parameter: 'safety'.", "max_tokens is too large: 100"),
        "max_tokens (100000) exceeds context window (8192) of the model",
        "Invalid request: model token limit 8192, max_tokens 100000",
        "max_tokens is too large, reduce the length of the completion",
        "Unsupported value: 'moderation' does not support this.",
        *("Your organization violates the policy", "This request violates your organization's data policy settings"),
    ],
)
def test_what_is_wrong_with_a_request_is_not_the_questions_fault(message: str) -> None:
    assert not is_about_the_question(None, message)


def test_words_of_a_question_do_not_use_up_the_account() -> None:
    assert not is_used_up(400, "invalid_value", "Invalid value: 'insufficient funds' in messages")
    assert is_used_up(403, "forbidden", "Insufficient balance")
    assert is_used_up(400, None, "Your credit balance is too low")


def test_what_was_paid_for_and_cannot_be_read_is_asked_for_twice_and_counted() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    with FakeServer() as server:
        server.faults.append(Fault(body={"choices": [{"finish_reason": "stop"}], "usage": usage}))
        (answer,) = ask(server, wanted(1)).values()
        assert "is not a completion" in (answer.error or "")
        assert (answer.prompt_tokens, answer.completion_tokens) == (6, 10)
        assert server.asked.total() == 2


def test_a_server_whose_answers_cannot_be_read_ends_the_run_and_no_question_is_failed() -> None:
    odd = {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    with FakeServer() as server:
        server.faults.append(Fault(body=odd, times=1000))
        answers: dict[str, Answer] = {}
        with pytest.raises(FatalError, match=r"answers nothing.*is not a completion"):
            ask(server, wanted(200), answers=answers)
        assert answers == {}
        assert server.asked.total() < 100


def test_what_a_server_broke_off_is_paid_for_too() -> None:
    broken = {"choices": [{"finish_reason": "abort", "message": {"content": "4"}}], "usage": {"completion_tokens": 5}}
    with FakeServer() as server:
        server.faults.append(Fault(body=broken, times=2))
        (answer,) = ask(server, wanted(1)).values()
        assert (answer.error, answer.response[PAID_BEFORE]) == (None, [0, 10])
        server.faults.append(Fault(body=broken, where=lambda body: body["seed"] == 1))
        failure = ask(server, wanted(2), concurrency=1)["k1"]
        assert (failure.error, failure.response[PAID_BEFORE]) == ("the server broke off (abort), 8 times", [0, 40])


def test_a_local_server_that_goes_ends_the_run() -> None:
    with FakeServer(latency=0.02) as server:
        answers: dict[str, Answer] = {}
        asyncio.run(_ask_and_stop_server(server, answers))
        assert 5 <= len(answers) < 1000


async def _ask_and_stop_server(server: FakeServer, answers: dict[str, Answer]) -> None:
    def answered(request: Request, answer: Answer) -> None:
        answers[request.key] = answer
        if len(answers) == 5:
            server.stop()

    async with Client(Address(server.base_url), {}, Limits(4), local=True) as client:
        with pytest.raises(FatalError, match="is gone"):
            await client.run(iter(wanted(1000)), answered, asyncio.Event(), 1.0)


def test_stopping_lets_what_is_in_flight_finish() -> None:
    with FakeServer(latency=0.3) as server:
        answers: dict[str, Answer] = {}
        with pytest.raises(FatalError, match="run again for the rest"):
            ask(server, wanted(100), stop_after=2, grace=30.0, answers=answers)
        assert 2 <= len(answers) == server.asked.total() < 100


def test_stopping_waits_no_longer_than_the_grace() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(hang=True, where=lambda body: body["seed"] == 1))
        began = time.monotonic()
        with pytest.raises(FatalError):
            ask(server, wanted(4), stop_after=3, grace=0.2, timeout=300.0)
        assert time.monotonic() - began < 300, "the hanging request is not waited for"


def test_no_more_are_in_flight_than_allowed() -> None:
    with FakeServer(latency=0.02) as server:
        ask(server, wanted(60), concurrency=6)
        assert 2 <= server.most_at_once <= 6


def test_requests_per_minute_hold() -> None:
    with FakeServer() as server:
        ask(server, wanted(20), requests_per_minute=300)
        spread = server.times[-1] - server.times[0]
        assert spread >= 1, "ten of the twenty exceed the burst of ten: 5 per second"


def test_tokens_per_minute_hold() -> None:
    with FakeServer() as server:
        answers = ask(server, wanted(8), tokens_per_minute=3000, concurrency=1)
        used = sum((answer.prompt_tokens or 0) + (answer.completion_tokens or 0) for answer in answers.values())
        assert used > 150
        assert server.times[-1] - server.times[0] >= 0.5, "beyond a burst of 100, 50 a second"


def test_a_limit_reached_makes_everyone_wait() -> None:
    with FakeServer() as server:
        server.faults.append(Fault(status=429, headers={"retry-after": "0.5"}, times=1))
        ask(server, wanted(40), concurrency=4)
        gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
        assert max(gaps) >= 0.4


@pytest.mark.parametrize("asked", ["86400", "inf", "1e300", "Thu, 01 Jan 2099 00:00:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_is_no_longer_than_the_patience(asked: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openthoughts.inference.client.PATIENCE_SECONDS", 0.4)
    reason = r"and asks to wait \S+ s" if status == 429 else "503: made to fail, 8 times"
    with FakeServer() as server:
        server.faults.append(Fault(status=status, headers={"retry-after": asked}))
        with pytest.raises(FatalError, match=f"answers nothing .*{reason}"):
            asyncio.run(asyncio.wait_for(asyncio.to_thread(ask, server, wanted(16)), 60))


@pytest.mark.parametrize("reset", ["1.2.3s", "...", "soon", "2026-11-29T00:00:00Z", "9" * 400, "٣s"])
def test_an_odd_span_of_a_rate_header_harms_nothing(reset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openthoughts.inference.client.LONGEST_PAUSE", 0.01)
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
    with FakeServer() as server:
        server.faults.append(Fault(headers=headers))
        assert all(answer.text for answer in ask(server, wanted(3)).values())


def test_rate_limit_headers_are_applied_before_the_server_refuses() -> None:
    with FakeServer() as server:
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
        server.faults.append(Fault(headers=headers, times=1))
        ask(server, wanted(10), concurrency=1)
        assert server.times[1] - server.times[0] >= 0.35


@pytest.mark.parametrize(("text", "seconds"), [("1m30s", 90), ("20ms", 0.02), ("2", 2), ("1h0m1s", 3601), ("", 0)])
def test_spans_of_rate_headers(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after-ms": "250"}, 0.25),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "Thu, 99 Foo"}, None),
        ({"retry-after": "Thu, 01 Jan 0001 00:00:00 -0000"}, 0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
