"""What servers of many kinds send with status 200, from the asking to the dataset and to the labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from tests.asking_helpers import asking_arguments, servers, write_model, write_questions
from tests.fake_openai import FakeServer, Fault

import assemble_dataset
import filter_answers
import label_questions
import measure_answers
import merge_answers
import openthoughts.inference.client
import parse_labels
import sample_answers
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import COMPLETIONS, LABELS, read_table
from openthoughts.store.store import Store

CATALOG_PROMPTS = Path(__file__).parents[2] / "catalog" / "prompts"

EMPTY = "the answer is empty"


class Kept(NamedTuple):
    """An answer that stands in the dataset."""

    text: str
    finish: str | None = "stop"
    message: bool = False
    """Whether the store keeps the raw message, as text and reasoning do not say all of it."""


class Lost(NamedTuple):
    """A body of which nothing stands in the dataset: part of the reason."""

    reason: str
    dropped: str = "failed: "
    """What the filter's reason begins with."""


def message(content: Any, finish: Any = "stop", **further: Any) -> dict[str, Any]:
    """A body with one choice; ``further`` are keys of its message."""
    return {
        "id": "x", "object": "chat.completion", "created": 0, "model": "m", "system_fingerprint": "f",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **further}},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }  # fmt: skip


def with_usage(usage: Any, **further: Any) -> dict[str, Any]:
    return {**message("42"), "usage": usage, **further}


def with_choices(choices: Any) -> dict[str, Any]:
    return {**message("42"), "choices": choices}


def thought(reasoning: str, text: str) -> str:
    """The canonical form."""
    return f"<think>\n{reasoning}\n</think>\n\n{text}"


def tool(name: str) -> list[dict[str, Any]]:
    return [{"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}]


HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
STREAM = b'data: {"choices": [{"delta": {"content": "42"}}]}\n\ndata: [DONE]\n\n'
LONG = "word " * 210_000
LEGACY = {"choices": [{"text": "42", "finish_reason": "stop"}], "object": "text_completion"}

BODIES: dict[str, tuple[Any, Kept | Lost]] = {
    # thinking, wherever a server puts it
    "mistral: chunks of thinking, then text": (
        message(
            [
                {
                    "type": "thinking",
                    "thinking": [{"type": "text", "text": "Six"}, {"type": "text", "text": " times."}],
                    "closed": True,
                },
                {"type": "text", "text": "42"},
            ]
        ),
        Kept(thought("Six times.", "42"), message=True),
    ),
    "mistral: raw tags": (message("[THINK]Six times.[/THINK]42"), Kept(thought("Six times.", "42"))),
    "gemini: thoughts in the text": (
        message("<thought>\nSix times.\n</thought>\n42"),
        Kept(thought("Six times.", "42")),
    ),
    "thinking tags": (message("<thinking>Six times.</thinking>\n\n42"), Kept(thought("Six times.", "42"))),
    "thinking tags, cut": (message("<thinking>Six ti", "length"), Kept("<think>Six ti", "length")),
    "thinking tags in the midst": (message("The tag <thinking> is one."), Kept("The tag <thinking> is one.")),
    "qwen: thinking split off, empty tags left": (
        message("<think>\n\n</think>\n\n42", reasoning_content="Six times."),
        Kept(thought("Six times.", "42")),
    ),
    "empty tags, then text": (message("<think></think>42"), Kept(thought("", "42"))),
    "sglang: both, the same": (
        message("<think>Six times.</think>42", reasoning_content="\nSix times.\n"),
        Kept(thought("Six times.", "42")),
    ),
    "both, the summary of the other": (
        message("<think>So: six times. Yes.</think>42", reasoning="six times."),
        Kept(thought("So: six times. Yes.", "42")),
    ),
    "both, different": (
        message("<think>Seven times.</think>42", reasoning_content="Six times."),
        Kept(thought("Six times.\n\nSeven times.", "42")),
    ),
    "two blocks of thinking": (
        message("<think>Six</think>\n<think>times.</think>\n42"),
        Kept(thought("Six\n\ntimes.", "42")),
    ),
    "vllm: no opening tag": (message("Six times.\n</think>\n\n42"), Kept(thought("Six times.", "42"))),
    "openrouter: reasoning and its details": (
        message("42", reasoning="Six times.", reasoning_details=[{"type": "reasoning.text", "text": "Six times."}]),
        Kept(thought("Six times.", "42"), message=True),
    ),
    "openrouter: encrypted details only": (
        message("42", reasoning_details=[{"type": "reasoning.encrypted", "data": "gAAA", "id": "r"}]),
        Kept("42", message=True),
    ),
    "litellm: two fields that differ": (
        message("42", reasoning_content="Six times.", reasoning="Otherwise."),
        Kept(thought("Six times.", "42"), message=True),
    ),
    "vllm: two fields that agree": (
        message("42", reasoning_content="Six times.", reasoning="Six times."),
        Kept(thought("Six times.", "42")),
    ),
    "litellm: thinking_blocks": (
        message("42", reasoning_content="Six times.", thinking_blocks=[{"type": "thinking", "signature": "s"}]),
        Kept(thought("Six times.", "42"), message=True),
    ),
    "tags within the thinking's field": (
        message("42", reasoning_content="<think>\nSix times.\n</think>"),
        Kept(thought("Six times.", "42")),
    ),
    "the closing tag left in the text": (
        message("</think>\n\n42", reasoning_content="Six times."),
        Kept(thought("Six times.", "42")),
    ),
    "gpt-oss: channels": (
        message("<|channel|>analysis<|message|>Six times.<|end|><|start|>assistant<|channel|>final<|message|>42"),
        Kept(thought("Six times.", "42")),
    ),
    "anthropic: thinking_blocks only": (
        message("42", thinking_blocks=[{"type": "thinking", "thinking": "Six times.", "signature": "s"}]),
        Kept(thought("Six times.", "42"), message=True),
    ),
    "tags within the thinking's field, no answer": (message("", reasoning="Six.\n</think>"), Lost("", "empty answer")),
    "thinking cut by the limit": (message("", "length", reasoning_content="Six ti"), Kept("<think>\nSix ti", "length")),
    "thinking in the text cut by the limit": (message("<think>Six ti", "length"), Kept("<think>Six ti", "length")),
    "thinking that ends without an answer": (message(None, reasoning="Six times."), Lost("", "empty answer")),
    "thinking in the text, no answer": (message("<think>Six times.</think>\n\n"), Lost("", "empty answer")),
    "thinking never closed that ended by itself": (message("<think>Six times."), Lost("", "empty answer")),
    "cut within the opening tag's line": (message("<think>\n", "length"), Lost("", "empty answer")),
    "empty tags only": (message("<think>\n\n</think>"), Lost(EMPTY, "empty answer")),
    # why it ended
    "no finish reason": (message("42", None), Kept("42", None)),
    "tgi: eos_token": (message("42", "eos_token"), Kept("42")),
    "anthropic: end_turn": (message("42", "end_turn"), Kept("42")),
    "mistral: model_length": (message("42 and", "model_length"), Kept("42 and", "length")),
    "gemini: MAX_TOKENS": (message("42 and", "MAX_TOKENS"), Kept("42 and", "length")),
    "tool_calls beside a text": (
        message("42", "tool_calls", tool_calls=tool("add")),
        Lost("called a tool (add)"),
    ),
    "tool_calls of a wrong form": (message("42", tool_calls={}, function_call=""), Kept("42")),
    "vllm: abort": (message("42 and", "abort"), Lost("the server broke off (abort)")),
    "openrouter: error of the choice": (
        with_choices(
            [{"finish_reason": "error", "error": {"code": 502, "message": "x"}, "message": {"content": "42"}}]
        ),
        Lost("502: x"),
    ),
    "openrouter: the choice was moderated": (
        with_choices([{"error": {"code": 403, "message": "Your input was flagged"}, "message": {"content": ""}}]),
        Lost("refused (403: Your input was flagged)"),
    ),
    "an object for the reason": (message("42 and", {"type": "abort"}), Lost("the server broke off (abort)")),
    "bedrock: guardrail": (
        message("I", "guardrail_intervened"),
        Lost("refused by the content filter (guardrail_intervened)"),
    ),
    "anthropic: refusal": (message("I", "refusal"), Lost("refused by the model")),
    "gemini: SPII": (message("", "SPII"), Lost("refused by the content filter (SPII)")),
    "anthropic: its context is full": (message("42 and", "model_context_window_exceeded"), Kept("42 and", "length")),
    "deepseek: no resources": (
        message("42 and", "insufficient_system_resource"),
        Lost("the server broke off (insufficient_system_resource)"),
    ),
    "azure: content_filter": (message("", "content_filter"), Lost("refused by the content filter")),
    "gemini: content_filter with its reason": (
        message("42 and", "content_filter: RECITATION"),
        Lost("refused by the content filter"),
    ),
    "glm: sensitive": (message("", "sensitive"), Lost("refused by the content filter")),
    # nothing that is a text
    "openai: refusal": (message(None, refusal="I cannot help."), Lost("refused by the model: I cannot help.")),
    "a refusal beside a text": (message("42", refusal="Rather not."), Lost("refused by the model: Rather not.")),
    "blank lines": (message("\n\n \t\r\n"), Lost(EMPTY, "empty answer")),
    "characters of no width": (message("\u200b\ufeff\u2060"), Lost(EMPTY, "empty answer")),
    "nothing but NUL": (message("\x00\x00"), Lost(EMPTY, "empty answer")),
    "a part of text without text": (message([{"type": "text"}]), Lost(EMPTY, "empty answer")),
    "audio only": (message(None, audio={"id": "a", "data": "UklG", "transcript": "42"}), Lost(EMPTY, "empty answer")),
    "a tool only": (message(None, "tool_calls", tool_calls=tool("add")), Lost("called a tool (add)")),
    "a tool without a function": (
        message("", "tool_calls", tool_calls=[None, {"id": "x"}]),
        Lost(EMPTY, "empty answer"),
    ),
    "an old function call only": (
        message("", function_call={"name": "sum", "arguments": ""}),
        Lost("called a tool (sum)"),
    ),
    "content that is a part": (message({"type": "text", "text": "42"}), Kept("42", message=True)),
    "a picture": (message([{"type": "image", "source": "x"}]), Lost("is no text (image)")),
    "content that is a number": (message(42), Lost("is not a completion")),
    "content that is true": (message(True), Lost("is not a completion")),
    "content that is an object": (message({"answer": 42}), Lost("is not a completion")),
    "content that is NaN": (
        json.dumps(message(None)).replace('"content": null', '"content": NaN').encode(),
        Lost(EMPTY, "empty answer"),
    ),
    # choices
    "two choices": (
        with_choices([{"message": {"content": text}, "finish_reason": "stop"} for text in ("42", "43")]),
        Kept("42"),
    ),
    "no choices": (with_choices([]), Lost("is not a completion")),
    "choices null": (with_choices(None), Lost("is not a completion")),
    "message null": (with_choices([{"message": None, "finish_reason": "stop"}]), Lost("is not a completion")),
    "delta for message": (with_choices([{"delta": {"content": "42"}}]), Lost("is not a completion")),
    "the form of text completions": (LEGACY, Lost("is not a completion")),
    "ollama: its own form": ({"model": "m", "message": {"content": "42"}, "done": True}, Lost("is not a completion")),
    "gemini: its own form": ({"candidates": [{"content": {"parts": [{"text": "42"}]}}]}, Lost("is not a completion")),
    "a list around it": ([message("42")], Lost("is not a completion")),
    "nothing but a text": ("42", Lost("is not a completion")),
    "fastapi: detail": ({"detail": [{"loc": ["body"], "msg": "field required"}]}, Lost("is not a completion")),
    # errors with status 200
    "error 503": ({"error": {"code": 503, "message": "no instances"}}, Lost("503: no instances")),
    "error too long, in words": (
        {"error": {"code": "context_length_exceeded", "message": "This is too much."}},
        Lost("refused (400: This is too much.)"),
    ),
    "error too long, vllm": (
        {"object": "error", "message": "maximum context length is 10", "type": "BadRequestError", "code": 400},
        Lost("refused (400: maximum context length is 10)"),
    ),
    "error as a text": ({"error": "the input is longer than the maximum context length"}, Lost("refused (400: ")),
    "error beside choices": ({**message("42"), "error": {"message": "upstream"}}, Lost("500: upstream")),
    "error with half a character": ({"error": {"message": "bad \ud83d"}}, Lost("500: bad \ufffd")),
    # no JSON, or odd JSON
    "a page": (HTML, Lost("is no JSON (<!DOCTYPE html>")),
    "no body": (b"", Lost("is no JSON ()")),
    "blank body": (b"\r\n\r\n", Lost("is no JSON")),
    "a stream": (STREAM, Lost("is no JSON (data: ")),
    "python's spelling": (repr(message("42")).encode(), Lost("is no JSON")),
    "cut in its middle": (json.dumps(message("42")).encode()[:120], Lost("is no JSON")),
    "nested deeply": (b'{"choices":' * 30_000, Lost("is no JSON")),
    "keys nested deeply": (message("42", extra=json.loads('{"a":' * 300 + "1" + "}" * 300)), Kept("42", message=True)),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(message("42")).encode(), Kept("42")),
    "UTF-16": (json.dumps(message("42")).encode("utf-16"), Kept("42")),
    "blanks around it": (b"\n\n  " + json.dumps(message("42")).encode() + b"  \r\n\r\n", Kept("42")),
    "the same key twice": (
        json.dumps(message("41")).replace('"content": "41"', '"content": "41", "content": "42"').encode(),
        Kept("42"),
    ),
    # usage and other keys
    "usage missing": ({key: value for key, value in message("42").items() if key != "usage"}, Kept("42")),
    "usage in words": (with_usage({"prompt_tokens": "3", "completion_tokens": "five"}), Kept("42")),
    "usage negative": (with_usage({"prompt_tokens": -1, "completion_tokens": -5}), Kept("42")),
    "usage with points": (with_usage({"prompt_tokens": 3.0, "completion_tokens": 5.5}), Kept("42")),
    "usage beyond 64 bits": (with_usage({"prompt_tokens": 10**30, "completion_tokens": 2**63}), Kept("42")),
    "usage that is no number": (
        json.dumps(message("42")).replace('"completion_tokens": 5', '"completion_tokens": NaN').encode(),
        Kept("42"),
    ),
    "usage infinite": (json.dumps(message("42")).replace(": 5,", ": Infinity,").encode(), Kept("42")),
    "id and model of other types": (with_usage({}, id=7, model={"name": "m"}, system_fingerprint=[None]), Kept("42")),
    "logprobs": (
        with_choices([{"message": {"content": "42"}, "logprobs": {"content": [{"token": "42", "logprob": -9e99}]}}]),
        Kept("42", None),
    ),
    "further keys": (
        {**message("42", annotations=[], audio=None), "x_groq": {}, "prompt_filter_results": [1]},
        Kept("42"),
    ),
    # the text itself
    "half a character": (message("42 \ud83d!"), Kept("42 \ufffd!")),
    "NUL in the text": (message("4\x002"), Kept("4\x002")),
    "a megabyte": (message(LONG), Kept(LONG)),
    "right to left": (message("\u202e42\u202c"), Kept("\u202e42\u202c")),
    "blanks around the text": (message("\n 42 \n"), Kept("\n 42 \n")),
    "content in parts of three kinds": (
        message(["4", {"text": "2"}, {"type": "output_text", "text": "!"}]),
        Kept("42!", message=True),
    ),
    "tags in the answer": (message("Write </think> after <think>."), Kept("Write </think> after <think>.")),
}


def question(name: str) -> str:
    return f"What is six times seven? [{name}]"


def fault(name: str, body: Any) -> Fault:
    sent = {"raw": body} if isinstance(body, bytes) else {"raw": json.dumps(body).encode()}
    return Fault(where=lambda asked: f"[{name}]" in json.dumps(asked, ensure_ascii=False), **sent)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(openthoughts.inference.client, "LONGEST_PAUSE", 0.001)
    with FakeServer() as running:
        running.answer = lambda body: "42"
        yield running


@pytest.fixture
def model(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_model(tmp_path)
    monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(path, server))
    return path


def through_to_the_dataset(folder: Path, model: Path, names: list[str]) -> None:
    """Ask, merge, measure, filter by none, assemble."""
    drawn = write_questions(folder / "drawn.parquet", [question(name) for name in names])
    given = ["--questions", str(drawn)]
    asking = [*asking_arguments(folder, model), "--max-failed", "1.0", "--shard", "0", "--shards", "1"]
    assert sample_answers.main([*given, "--samples", "1", "--output", f"{folder}/shard", *asking]) == 0
    merging = ["--samples", "1", "--completions", f"{folder}/shard", "--model", str(model)]
    assert merge_answers.main([*given, *merging, "--output", f"{folder}/answers"]) == 0
    given += ["--answers", f"{folder}/answers"]
    settings = ["--settings", '{"last_number": true, "programs": true}']
    assert measure_answers.main([*given, *settings, "--output", f"{folder}/measured"]) == 0
    filtering = ["--by", "none", "--output", f"{folder}/kept", "--dropped", f"{folder}/dropped"]
    assert filter_answers.main([*given, *filtering]) == 0
    assert assemble(folder) == 0


def assemble(folder: Path) -> int:
    domain = ["--domain", "math", f"{folder}/drawn.parquet", f"{folder}/kept", f"{folder}/measured"]
    outputs = ["--output", "--info", "--card", "--counts"]
    written = [text for name in outputs for text in (name, f"{folder}/dataset{name}")]
    return assemble_dataset.main([*domain, "--recipe", "r", "--seed", "1", *written])


def stored(folder: Path) -> pl.DataFrame:
    with Store(folder / "store") as store:
        [model_id] = store.statistics()["model_id"].unique()
        rows = store.scan(model_id)
        assert rows is not None
        return store.read(model_id, rows.select("key", "question_id").collect())


@pytest.mark.timeout(120)
def test_a_body_is_an_answer_in_the_dataset_or_a_failure_with_its_reason(
    tmp_path: Path, model: Path, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults += [fault(name, body) for name, (body, _) in BODIES.items()]
    names = [*BODIES, *(f"usual {number}" for number in range(100))]
    with caplog.at_level("INFO"):
        through_to_the_dataset(tmp_path, model, names)
    dataset = pl.read_parquet(tmp_path / "dataset--output")
    rows = {row["question_id"]: row for row in dataset.iter_rows(named=True)}
    completions = {
        row["question_id"]: row for row in read_table(tmp_path / "answers", COMPLETIONS).iter_rows(named=True)
    }
    dropped = dict(pl.read_parquet(tmp_path / "dropped").select("question_id", "reason").iter_rows())
    raw = {row["question_id"]: row for row in stored(tmp_path).iter_rows(named=True)}
    wrong = []
    for name, (_, wanted) in BODIES.items():
        identity = question_id(question(name))
        row, completion = rows.get(identity), completions[identity]
        if isinstance(wanted, Kept):
            text = row["conversations"][1]["value"] if row else None
            found = Kept(text, completion["finish_reason"], "message" in json.loads(raw[identity]["response"]))
            if found != wanted:
                wrong.append((name, wanted, found, completion["error"]))
        else:
            reason = dropped.get(identity)
            if row or not str(reason).startswith(wanted.dropped) or wanted.reason not in (completion["error"] or ""):
                wrong.append((name, wanted, row, reason, completion["error"]))
    assert not wrong, "\n".join(str(each)[:400] for each in wrong)
    assert dataset.height == 100 + sum(isinstance(wanted, Kept) for _, wanted in BODIES.values())
    empty = sum(wanted.dropped == "empty answer" for _, wanted in BODIES.values() if isinstance(wanted, Lost))
    assert (
        f"dropped {empty} of {len(names)}: empty answer" in caplog.text
        or f"dropped {empty}: empty answer" in caplog.text
    )


def test_the_store_holds_what_the_server_sent(tmp_path: Path, model: Path, server: FakeServer) -> None:
    sent = {
        "tags": ("<thinking>Hm.</thinking>42", None),
        "both": ("<think>Hm.</think>42", "Hm, hm."),
        "no opening": ("Hm.</think>42", None),
        "blocks": ("<think>a</think> <think>b</think>42", None),
    }
    server.faults += [
        fault(name, message(text, "MAX_TOKENS", reasoning_content=held)) for name, (text, held) in sent.items()
    ]
    through_to_the_dataset(tmp_path, model, list(sent))
    rows = {row["question_id"]: row for row in stored(tmp_path).iter_rows(named=True)}
    found = {
        name: (rows[question_id(question(name))]["text"], rows[question_id(question(name))]["reasoning"])
        for name in sent
    }
    assert found == sent
    assert {row["finish_reason"] for row in rows.values()} == {"MAX_TOKENS"}


def test_a_server_at_its_limit_says_so_with_status_200_too(tmp_path: Path, model: Path, server: FakeServer) -> None:
    server.faults += [
        Fault(body={"error": {"code": code, "message": "slow down"}}, times=1) for code in (429, "rate_limit_exceeded")
    ]
    through_to_the_dataset(tmp_path, model, ["usual"])
    assert pl.read_parquet(tmp_path / "dataset--output").height == 1


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(401, "refuses the key"), (402, "is used up"), ("invalid_api_key", "refuses the key"),
     ("insufficient_quota", "is used up"), ("model_not_found", "does not know the model")],
)  # fmt: skip
def test_an_error_that_concerns_all_ends_the_run(
    tmp_path: Path, model: Path, server: FakeServer, capsys: pytest.CaptureFixture[str], code: Any, sentence: str
) -> None:
    server.faults.append(Fault(body={"error": {"code": code, "message": "no \ud83d"}}))
    drawn = write_questions(tmp_path / "drawn.parquet", [question("usual")])
    given = ["--questions", str(drawn), "--samples", "1", "--shard", "0", "--shards", "1", "--output", f"{tmp_path}/s"]
    assert sample_answers.main([*given, *asking_arguments(tmp_path, model)]) == 1
    written = capsys.readouterr().err
    assert sentence in written
    assert "Traceback" not in written


def test_a_dataset_is_not_made_of_empty_answers_that_an_earlier_version_kept(
    tmp_path: Path, model: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    through_to_the_dataset(tmp_path, model, ["one", "two"])
    table = pl.read_parquet(tmp_path / "kept")
    table.with_columns(text=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(" ")).otherwise("text")).write_parquet(
        tmp_path / "kept"
    )
    assert assemble(tmp_path) == 1
    assert "1 empty answers, which an earlier version kept: delete its folder" in capsys.readouterr().err


THOUGHT = r"Take $\frac{1}{2}$ of $\sqrt{x: y}$, {n: n > 2} and \{a, b\}. "

LABELLED: dict[str, tuple[str, float | str]] = {
    "a draft in thinking": ('<think>About {"difficulty": 4}.</think>\n{"difficulty": 7, "reasoning": "r"}', 7),
    "cut in thinking": ('<think>\n{"difficulty": 4}\nbut', "the thinking was cut off"),
    "a draft in thinking, nothing after": ('<think>{"difficulty": 4}</think>', "no JSON object"),
    "other tags of thinking": ('<thinking>{"difficulty": 4}</thinking> I pass.', "no JSON object"),
    "tags in capitals": ('<THINK>{"difficulty": 4}</THINK> {"difficulty": 7}', 7),
    "mistral's tags": ('[THINK]{"difficulty": 4}[/THINK]no', "no JSON object"),
    "formulas in thinking, a formula in the rationale": (
        f'<think>{THOUGHT * 40}</think>{{"reasoning": "by \\frac{{a}}{{b}}", "difficulty": 7}}',
        7,
    ),
    "formulas before it, no tags": (f'{THOUGHT * 60}\n{{"reasoning": "by \\frac{{a}}{{b}}", "difficulty": 7}}', 7),
    "draft, then final": ('{"difficulty": 4} is too low: {"difficulty": 7}', 7),
    "a second that does not fit": ('{"difficulty": 7}. Not {"difficulty": "high"}.', 7),
    "two fences": ('```json\n{"difficulty": 4}\n```\nBetter:\n```json\n{"difficulty": 7}\n```', 7),
    "fenced, prose after": ('```json\n{"difficulty": 7}\n```\nI hope {this: helps}.', 7),
    "an end of thinking in the rationale": ('{"reasoning": "after </think> it stops", "difficulty": 7}', 7),
    "LaTeX not escaped": (r'{"reasoning": "\( \beta \ne \frac{\pi}{2} \)", "difficulty": 7}', 7),
    "single quotes": ("{'difficulty': 7, 'reasoning': 'it's hard'}", 7),
    "commas too many": ('{"difficulty": 7,, "reasoning": "x",\n}', 7),
    "comments": ('{\n  // of ten\n  "difficulty": 7 /* hard */\n}', 7),
    "python's words": ('{"difficulty": 7, "reasoning": None, "sure": True}', 7),
    "a rationale that is null": ('{"difficulty": 7, "reasoning": null}', 7),
    "a rationale that is a list": ('{"difficulty": 7, "reasoning": ["a", "b"]}', 7),
    "typographic quotes": ("{\u201cdifficulty\u201d: 7, \u201creasoning\u201d: \u201cx\u201d}", 7),
    "a number as text": ('{"difficulty": " 7 "}', 7),
    "of ten": ('{"difficulty": "7/10"}', 7),
    "of ten, bare": ('{"difficulty": 7/10, "reasoning": "x"}', 7),
    "of ten, in words": ('{"difficulty": "7 out of 10"}', 7),
    "of twenty": ('{"difficulty": "7/20"}', "valid integer"),
    "with a point": ('{"difficulty": 7.0}', 7),
    "with an exponent": ('{"difficulty": 7e0}', 7),
    "between two": ('{"difficulty": 7.5}', "valid integer"),
    "a range": ('{"difficulty": "6-7"}', "valid integer"),
    "true": ('{"difficulty": true}', "valid integer"),
    "null": ('{"difficulty": null}', "valid integer"),
    "in a word": ('{"difficulty": "seven"}', "valid integer"),
    "too high": ('{"difficulty": 11}', "less than or equal to 10"),
    "below": ('{"difficulty": -7}', "greater than or equal to 1"),
    "huge": ('{"difficulty": 1' + "0" * 5000 + "}", "difficulty: "),
    "NaN": ('{"difficulty": NaN}', "finite number"),
    "Arabic digits": ('{"difficulty": "\u0667"}', 7),
    "wide digits": ('{"difficulty": "\uff17"}', 7),
    "a list of objects": ('[{"difficulty": 4}, {"difficulty": 7}]', 7),
    "within lists": ('{"results": [[{"difficulty": 7}]]}', 7),
    "within an object": ('{"answer": {"grade": {"difficulty": 7}}}', 7),
    "a list for a number": ('{"difficulty": [7]}', "valid integer"),
    "in capitals": ('{"DIFFICULTY": 7, "Reasoning": "x"}', 7),
    "another name": ('{"difficulty_level": 7}', "Field required"),
    "twice the same key": ('{"difficulty": 4, "difficulty": 7}', 7),
    "an object as a text": (json.dumps(json.dumps({"difficulty": 7, "reasoning": "x"})), 7),
    "two braces": ('{{"difficulty": 7}}', 7),
    "boxed": (r'\boxed{{"difficulty": 7}}', 7),
    "a byte order mark": ('\ufeff{"difficulty": 7}', 7),
    "cut after the number": ('{"reasoning": "x", "difficulty": 7', "Field required"),
    "cut in the rationale": ('{"difficulty": 7, "reasoning": "it is', 7),
    "XML": ("<difficulty>7</difficulty>", "no JSON object"),
    "YAML": ("difficulty: 7\nreasoning: x", "no JSON object"),
    "a bare number": ("7", "no JSON object"),
    "a refusal": ("I cannot grade this.", "no JSON object"),
    "nothing": ("", EMPTY),
    "blanks": (" \n", EMPTY),
    "deep lists": ('{"a": ' + "[" * 900 + "]" * 900 + "}", "Field required"),
}


def test_a_label_is_read_or_its_reason_is_said(tmp_path: Path, model: Path, server: FakeServer) -> None:
    server.faults += [fault(name, message(text)) for name, (text, _) in LABELLED.items()]
    server.answer = lambda body: '{"difficulty": 5, "reasoning": "usual"}'
    names = [*LABELLED, *(f"usual {number}" for number in range(30))]
    drawn = write_questions(tmp_path / "drawn.parquet", [question(name) for name in names])
    given = ["--questions", str(drawn), "--method", "difficulty"]
    asking = [
        "--prompt",
        str(CATALOG_PROMPTS / "difficulty_math.md"),
        "--shard",
        "0",
        "--shards",
        "1",
        "--max-failed",
        "1.0",
    ]
    asking += ["--output", f"{tmp_path}/c", *asking_arguments(tmp_path, model)]
    assert label_questions.main([*given, *asking]) == 0
    assert parse_labels.main([*given, "--completions", f"{tmp_path}/c", "--output", f"{tmp_path}/l"]) == 0
    labels = {row["question_id"]: row for row in read_table(tmp_path / "l", LABELS).iter_rows(named=True)}
    wrong = []
    for name, (_, wanted) in LABELLED.items():
        found = labels[question_id(question(name))]
        is_right = wanted in found["error"] if isinstance(wanted, str) and found["error"] else found["value"] == wanted
        if not is_right:
            wrong.append((name, wanted, found["value"], found["error"]))
    assert not wrong, "\n".join(map(str, wrong))
