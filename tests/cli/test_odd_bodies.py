"""Forty odd bodies of servers through to the dataset, and thirty odd answers of a labeller through to the labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.asking_helpers import asking_arguments, servers, write_model, write_questions
from tests.fake_openai import Body, FakeServer, Fault

import assemble_dataset
import filter_answers
import label_questions
import measure_answers
import merge_answers
import parse_labels
import sample_answers
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import COMPLETIONS, LABELS, read_table
from openthoughts.inference.pace import Limits

CATALOG_PROMPTS = Path(__file__).parents[2] / "catalog" / "prompts"


@pytest.fixture
def model(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_model(tmp_path)
    monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(path, server))
    monkeypatch.setattr("openthoughts.inference.job.Limits", partial(Limits, pause=0.001))
    return path


def said(content: Any, finish: Any = "stop", **message: Any) -> Body:
    return {"choices": [{"index": 0, "finish_reason": finish, "message": {"content": content, **message}}]}


def thought(thinking: str, text: str) -> str:
    """Thinking and text in the form that every row of a dataset has."""
    return f"<think>\n{thinking}\n</think>\n\n{text}"


CALL = {"id": "c", "type": "function", "function": {"name": "calculator", "arguments": '{"sum": "2+2"}'}}
PART = {"type": "text", "text": "4"}
DETAIL = {"type": "reasoning.text", "text": "Add.", "index": 0}
DEEP: Any = "4"
for _ in range(60):
    DEEP = {"choices": [DEEP]}

ANSWERED: list[tuple[str, Body, str]] = [
    ("vLLM: thinking in a key of its own", said("\n\n4", reasoning="Add."), thought("Add.", "\n\n4")),
    ("SGLang: thinking and null beside it", said("4", reasoning_content="Add.", tool_calls=None), thought("Add.", "4")),
    ("llama.cpp: the tag was in the prompt", said("Add.\n</think>\n\n4"), thought("Add.", "4")),
    ("Ollama: both tags in the text", said("<think>\nAdd.\n</think>\n\n4"), thought("Add.", "4")),
    ("LiteLLM: in both", said("<think>Add.</think>4", reasoning_content="Add."), thought("Add.", "4")),
    ("Mistral: parts", said([{"type": "thinking", "thinking": [PART | {"text": "Add."}]}, PART]), thought("Add.", "4")),
    ("OpenRouter: with details", said("4", reasoning="Add.", reasoning_details=[DETAIL]), thought("Add.", "4")),
    ("encrypted details", said("4", reasoning_details=[{"type": "reasoning.encrypted", "data": "gA"}]), "4"),
    ("a tag of its own at the very end", said("4", reasoning_content="Add.\n\n"), thought("Add.", "4")),
    ("cut while it thinks, beside the text", said("", "length", reasoning_content="Add, then"), "<think>\nAdd, then"),
    ("cut while it thinks, content null", said(None, "length", reasoning_content="Add, and"), "<think>\nAdd, and"),
    ("cut while it thinks, in the text", said("<think>\nAdd, so", "length"), "<think>\nAdd, so"),
    ("TGI: end of sequence", said("4", "eos_token"), "4"),
    ("no finish reason", said("4", None), "4"),
    ("Azure: filters passed", said("4") | {"prompt_filter_results": [{"prompt_index": 0}]}, "4"),
    ("two choices", {"choices": [*said("4")["choices"], *said("5")["choices"]]}, "4"),
    ("a tool called beside the text", said("4", "tool_calls", tool_calls=[CALL]), "4"),
    ("logprobs and unknown keys", said("4", annotations=[], audio=None) | {"service_tier": "x"}, "4"),
    ("usage that is text", said("4") | {"usage": "none"}, "4"),
    ("usage of other types", said("4") | {"usage": {"prompt_tokens": 1.5, "completion_tokens": "2"}}, "4"),
    ("half a surrogate", said("4 \udc00!"), "4 \ufffd!"),
    ("characters of control", said("4\x00\x1b[0m"), "4\x00\x1b[0m"),
    ("a megabyte", said("4 " * 500_000), "4 " * 500_000),
    ("an error that is null", said("4") | {"error": None}, "4"),
    ("a part without a type", said([{"text": "4"}]), "4"),
]  # fmt: skip

FAILED: list[tuple[str, Any, str]] = [
    ("content of blanks", said(" \u00a0\n"), "empty"),
    ("an empty thinking alone", said("<think>\n\n</think>\n\n"), "empty"),
    ("content false", said(False), "content"),
    ("content a number", said(4), "content"),
    ("content an object", said({"answer": 4}), "content"),
    ("a picture", said([{"type": "image_url", "image_url": {"url": "x"}}]), "image_url"),
    ("a tool instead", said(None, "tool_calls", tool_calls=[CALL]), "calculator"),
    ("an old function instead", said(None, "function_call", function_call={"name": "add", "arguments": "{}"}), "add"),
    ("a delta of a stream", {"choices": [{"index": 0, "delta": {"content": "4"}}]}, "message"),
    ("a text completion", {"choices": [{"index": 0, "text": "4"}]}, "message"),
    ("message null", {"choices": [{"message": None}]}, "message"),
    ("choices null", {"choices": None}, "choices"),
    ("no choices", {"choices": []}, "choices"),
    ("a list", [said("4")], "not a completion"),
    ("null", None, None),
    ("deeply nested", DEEP, "choices"),
    ("an error of the server", {"error": {"message": "CUDA error", "code": 503}}, "CUDA error"),
    ("an error that is a text", {"error": "the model is loading"}, "loading"),
    ("a prompt that is too long", {"error": {"message": "too long", "code": "context_length_exceeded"}}, "too long"),
    ("the server broke off", said("4 and", "abort"), "abort"),
    ("a filter", said("", "content_filter"), "content filter"),
    ("a refusal", said(None, refusal="I cannot help with that."), "refused by the model"),
]  # fmt: skip


def dataset_of(folder: Path, model: Path, server: FakeServer, texts: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All answers, and the dataset: asked, merged, measured, filtered by nothing and assembled."""
    drawn, answers = write_questions(folder / "drawn.parquet", texts), folder / "answers.parquet"
    files = {name: folder / f"{name}.parquet" for name in ("merged", "measured", "kept", "dropped", "dataset")}
    ask = ["--questions", str(drawn), "--samples", "1", "--shard", "0", "--shards", "1", "--output", str(answers)]
    assert sample_answers.main([*ask, *asking_arguments(folder, model, "--max-failed", "0.9")]) == 0
    merge = ["--questions", str(drawn), "--completions", str(answers), "--samples", "1", "--model", str(model)]
    assert merge_answers.main([*merge, "--output", str(files["merged"])]) == 0
    given = ["--questions", str(drawn), "--answers", str(files["merged"])]
    measuring = ["--settings", '{"last_number": true, "programs": true}', "--output", str(files["measured"])]
    assert measure_answers.main([*given, *measuring]) == 0
    filtering = ["--by", "none", "--output", str(files["kept"]), "--dropped", str(files["dropped"])]
    assert filter_answers.main([*given, "--measured", str(files["measured"]), *filtering]) == 0
    assembling = ["--domain", "math", str(drawn), str(files["kept"]), str(files["measured"])]
    for name, file in (("info", "dataset_info.json"), ("card", "README.md"), ("counts", "counts.json")):
        assembling += [f"--{name}", str(folder / file)]
    assembling += ["--recipe", "odd", "--seed", "42", "--output", str(files["dataset"])]
    assert assemble_dataset.main(assembling) == 0
    return read_table(answers, COMPLETIONS), pl.read_parquet(files["dataset"])


def test_odd_bodies_come_to_the_dataset_as_they_should(tmp_path: Path, model: Path, server: FakeServer) -> None:
    for name, body, _ in (*ANSWERED, *FAILED):
        if body is not None:
            server.faults.append(
                Fault(body=body, where=lambda asked, name=name: asked["messages"][0]["content"] == name)
            )
    server.faults.append(Fault(malformed=True, where=lambda asked: asked["messages"][0]["content"] == "null"))
    names = [name for name, *_ in (*ANSWERED, *FAILED)]
    assert len(set(names)) == len(names) >= 40
    answers, dataset = dataset_of(tmp_path, model, server, names)

    rows = {row[0]["value"]: row[1]["value"] for row in dataset["conversations"]}
    assert rows == {name: text for name, _, text in ANSWERED}
    assert all(text.strip() for text in rows.values())
    told = {name: answers.row(by_predicate=pl.col("question_id") == question_id(name), named=True) for name in names}
    for name, _, reason in FAILED:
        assert told[name]["text"] is None
        assert (reason or "no JSON") in told[name]["error"], name
    assert [name for name, *_ in ANSWERED if told[name]["error"] is not None] == []
    assert told["cut while it thinks, in the text"]["finish_reason"] == "length"


FENCE = "```"
WRONG = '{"difficulty": 2, "reasoning": "No."}'
RIGHT = '{"difficulty": 7, "reasoning": "Hard."}'
LABELLED: list[tuple[str, str, float | None]] = [
    ("plain", '{"difficulty": 7, "reasoning": "Hard."}', 7),
    ("a draft in the thinking", '<think>{"difficulty": 2, "reasoning": "No."}</think>' + RIGHT, 7),
    ("only a draft", '<think>\n{"difficulty": 2, "reasoning": "Draft."}\n</think>\nIt is hard.', None),
    ("cut in the thinking", '<think>\nPerhaps {"difficulty": 2, "reasoning": "Draft."}, or', None),
    ("a draft, then better", f"First {WRONG} but then {RIGHT}", 7),
    ("a fence", f"{FENCE}json\n{RIGHT}\n{FENCE}", 7),
    ("two fences", f"{FENCE}\n{WRONG}\n{FENCE}\nBetter:\n{FENCE}\n{RIGHT}\n{FENCE}", 7),
    ("prose after it", '{"difficulty": 7, "reasoning": "Hard."}\n\nI hope that this helps {you}.', 7),
    ("a tag in the reasons", '{"difficulty": 7, "reasoning": "It says </think> itself."}', 7),
    ("a formula in the reasons", '{"difficulty": 7, "reasoning": "Needs \\frac{a}{b} and \\sqrt{2}."}', 7),
    ("another formula", '{"difficulty": 7, "reasoning": "Sum of \\(x_{i}\\) in \\{1, 2\\}."}', 7),
    ("single quotes", "{'difficulty': 7, 'reasoning': 'Hard.'}", 7),
    ("a comma too many", '{"difficulty": 7, "reasoning": "Hard.",}', 7),
    ("a comment", '{"difficulty": 7, // of ten\n "reasoning": "Hard."}', 7),
    ("bare keys", '{difficulty: 7, reasoning: "Hard."}', 7),
    ("lines in the reasons", '{"difficulty": 7, "reasoning": "Hard:\n- long\n- deep"}', 7),
    ("quotes in the reasons", '{"difficulty": 7, "reasoning": "The "easy" way fails."}', 7),
    ("a number as text", '{"difficulty": "7", "reasoning": "Hard."}', 7),
    ("a whole number as another", '{"difficulty": 7.0, "reasoning": "Hard."}', 7),
    ("a further member", '{"topic": "sums", "difficulty": 7, "reasoning": "Hard.", "sure": true}', 7),
    ("in another object", '{"answer": {"difficulty": 7, "reasoning": "Hard."}}', 7),
    ("in a list", '[{"difficulty": 7, "reasoning": "Hard."}]', 7),
    ("cut in the reasons", '{"difficulty": 7, "reasoning": "Hard, as it', 7),
    ("cut in the number", '{"reasoning": "Hard.", "difficulty": 1', None),
    ("a half", '{"difficulty": 7.5, "reasoning": "Hard."}', None),
    ("null", '{"difficulty": null, "reasoning": "Hard."}', None),
    ("out of range", '{"difficulty": 11, "reasoning": "Hard."}', None),
    ("a huge number", '{"difficulty": 1' + "0" * 5000 + ', "reasoning": "Hard."}', None),
    ("no number", '{"difficulty": NaN, "reasoning": "Hard."}', None),
    ("a word", '{"difficulty": "hard", "reasoning": "Hard."}', None),
    ("without the label", '{"reasoning": "Hard."}', None),
    ("prose alone", "I would say 7 of 10.", None),
    ("an endless brace", "{" * 5000, None),
]  # fmt: skip


def test_odd_labels_come_to_the_table_as_they_should(tmp_path: Path, model: Path, server: FakeServer) -> None:
    assert len(LABELLED) >= 30
    for name, text, _ in LABELLED:
        asks = f"Problem:\n\n{name}"
        server.faults.append(
            Fault(
                answer={"content": text}, where=lambda asked, asks=asks: asked["messages"][1]["content"].endswith(asks)
            )
        )
    questions = write_questions(tmp_path / "drawn.parquet", [name for name, *_ in LABELLED])
    given = ["--questions", str(questions), "--method", "difficulty", "--attempts", "1"]
    given += ["--prompt", str(CATALOG_PROMPTS / "difficulty_math.md"), "--shard", "0", "--shards", "1"]
    shard = tmp_path / "c.parquet"
    assert label_questions.main([*given, "--output", str(shard), *asking_arguments(tmp_path, model)]) == 0
    labels = tmp_path / "labels.parquet"
    parse = ["--questions", str(questions), "--completions", str(shard), "--method", "difficulty"]
    assert parse_labels.main([*parse, "--output", str(labels)]) == 0
    rows = {row["question_id"]: row for row in read_table(labels, LABELS).iter_rows(named=True)}
    assert {name: rows[question_id(name)]["value"] for name, *_ in LABELLED} == {
        name: want for name, _, want in LABELLED
    }
    for name, _, want in LABELLED:
        assert (rows[question_id(name)]["error"] is None) == (want is not None), name
    assert r"\frac{a}{b} and \sqrt{2}" in rows[question_id("a formula in the reasons")]["rationale"]
