"""Models that are asked through the Responses API, live and by batch, from the questions to the parsed tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.asking_helpers import SAMPLING, write_questions
from tests.fake_openai import API_KEY, MODEL, FakeServer, Fault

import label_questions
import parse_labels
import sample_answers
from openthoughts.base.tables import COMPLETIONS, LABELS, read_table
from openthoughts.models.fetch import fetch

TEXTS = [f"What is {number} plus 1?" for number in range(6)]
PROMPT = Path(__file__).parents[2] / "catalog" / "prompts" / "difficulty_math.md"
MODES = ["live", "batch"]


@pytest.fixture
def folder(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model of the Responses API and six questions."""
    monkeypatch.setenv("TEST_API_KEY", API_KEY)
    write_model(tmp_path, server, {"api": "responses"})
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    return tmp_path


def write_model(folder: Path, server: FakeServer, request: dict[str, Any]) -> None:
    entry = {"kind": "api", "base_url": server.base_url, "api_model": MODEL, "api_key_variable": "TEST_API_KEY"}
    fetch("pro", {**entry, "request": request}, None, folder / "model.json")


def arguments(folder: Path, output: str, mode: str, *further: str) -> list[str]:
    return [
        *("--questions", str(folder / "drawn.parquet"), "--shard", "0", "--shards", "1"),
        *("--output", str(folder / output), "--model", str(folder / "model.json")),
        *("--store", str(folder / "store"), "--sampling", SAMPLING, "--seed", "1"),
        *("--mode", mode, "--batch-poll", "0.05", *further),
    ]


def sample(folder: Path, mode: str, *further: str) -> int:
    return sample_answers.main(arguments(folder, "answers.parquet", mode, "--samples", "1", *further))


@pytest.mark.parametrize("mode", MODES)
def test_answers_have_their_thinking_and_tokens(folder: Path, server: FakeServer, mode: str) -> None:
    assert sample(folder, mode) == 0
    table = read_table(folder / "answers.parquet", COMPLETIONS)
    assert table.height == len(TEXTS)
    assert table["text"].str.contains(r"\A<think>\nabout \d+ characters, \w+\n</think>\n\nThe answer is \d+\.\z").all()
    assert table["finish_reason"].to_list() == ["stop"] * len(TEXTS)
    assert table["prompt_tokens"].min() and table["completion_tokens"].min()
    expected = {"model", "input", "max_output_tokens", "temperature", "top_p", "store"}
    assert all(set(body) == expected and body["store"] is False for body in server.bodies)
    assert {batch["endpoint"] for batch in server.batches.values()} == ({"/v1/responses"} if mode == "batch" else set())


@pytest.mark.parametrize("mode", MODES)
def test_labels_by_a_schema_are_parsed(folder: Path, server: FakeServer, mode: str) -> None:
    given = arguments(folder, "completions.parquet", mode, "--method", "difficulty", "--prompt", str(PROMPT))
    assert label_questions.main(given) == 0
    paths = ["--questions", str(folder / "drawn.parquet"), "--completions", str(folder / "completions.parquet")]
    assert parse_labels.main([*paths, "--method", "difficulty", "--output", str(folder / "labels.parquet")]) == 0
    labels = read_table(folder / "labels.parquet", LABELS)
    assert labels.height == len(TEXTS)
    assert labels["value"].is_between(1, 10).all()
    assert server.bodies[0]["text"]["format"]["strict"] is True


def test_both_modes_share_the_store_and_chat_completions_do_not(folder: Path, server: FakeServer) -> None:
    assert sample(folder, "batch") == 0
    asked = server.asked.total()
    assert sample(folder, "live") == 0
    assert server.asked.total() == asked
    write_model(folder, server, {})
    assert sample(folder, "live") == 0
    assert server.asked.total() == asked + len(TEXTS)


def test_what_is_cut_or_refused_is_told_apart(folder: Path, server: FakeServer) -> None:
    first, second = ("0 plus", "1 plus")
    server.faults.append(
        Fault(answer={"content": "The ans", "finish_reason": "length"}, where=lambda body: first in str(body["input"]))
    )
    server.faults.append(Fault(answer={"refusal": "I cannot."}, where=lambda body: second in str(body["input"])))
    assert sample(folder, "live", "--max-failed", "0.5") == 0
    table = read_table(folder / "answers.parquet", COMPLETIONS)
    assert table.filter(pl.col("text") == "The ans")["finish_reason"].to_list() == ["length"]
    assert table.filter(pl.col("text").is_null())["error"].to_list() == ["refused by the model: I cannot."]


@pytest.mark.parametrize("mode", MODES)
def test_what_the_model_refuses_ends_the_run_with_the_remedy(
    folder: Path, server: FakeServer, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(folder, server, {"api": "responses", "rename": {"seed": "seed"}})
    assert sample(folder, mode) == 1
    assert "Unknown parameter: 'seed'" in (error := capsys.readouterr().err)
    assert "leave out what the model refuses with `request: {omit: [seed]}` in its entry of the catalog" in error
    write_model(folder, server, {"api": "responses", "rename": {"seed": "seed"}, "omit": ["seed"]})
    assert sample(folder, mode) == 0


def test_a_model_that_has_nothing_else_is_named_with_the_remedy(
    folder: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "This model is only supported in v1/responses and not in v1/chat/completions."
    server.faults.append(Fault(status=404, message=message, where=lambda body: "messages" in body))
    write_model(folder, server, {})
    assert sample(folder, "live") == 1
    assert "`request: {api: responses}`" in capsys.readouterr().err
