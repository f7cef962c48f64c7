"""Verdicts of a model on answers: asked once each, in shards that make no difference, read, and used by the filter."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import answers, drawn
from tests.asking_helpers import asking_arguments, servers, write_model
from tests.fake_openai import FakeServer

import filter_answers
import label_questions
import parse_labels
import read_assessments
import verify_answers
from openthoughts.answers.verification import read_verdict
from openthoughts.base import streams
from openthoughts.base.hashing import question_id
from openthoughts.questions.labelling import read_label

PROMPTS = Path(__file__).parents[2] / "catalog" / "prompts"
TEXTS = [f"What is {number} and {number}?" for number in range(12)]
GIVEN = {text: [f"<think>\nhm\n</think>\n\nIt is right {n}.", f"It is wrong {n}.", "<think> for ever", None]
         for n, text in enumerate(TEXTS)}  # fmt: skip


def verdict(body: dict[str, object]) -> str:
    """Finds right what says so; of the answer 7 nothing can be read."""
    asked = str(body["messages"])
    if "right 7" in asked:
        return "I cannot tell."
    return json.dumps({"reasoning": "It says so.", "correct": "It is right" in asked})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Questions and answers."""
    drawn(tmp_path / "drawn.parquet", TEXTS)
    answers(tmp_path / "answers.parquet", GIVEN)
    return tmp_path


def verify(folder: Path, model: Path, shards: int) -> bytes:
    paths = [str(folder / f"{shard}-of-{shards}.parquet") for shard in range(shards)]
    given = ["--answers", f"{folder}/answers.parquet"]
    for shard, path in enumerate(paths):
        command = ["--questions", f"{folder}/drawn.parquet", *given, "--prompt", str(PROMPTS / "verify_answer.md")]
        command += ["--shard", str(shard), "--shards", str(shards), "--output", path]
        assert verify_answers.main([*command, *asking_arguments(folder, model)]) == 0
    output = folder / f"assessed-{shards}.parquet"
    command = [*given, "--assessed", *paths, "--method", "llm_verification", "--output", str(output)]
    assert read_assessments.main(command) == 0
    return output.read_bytes()


def test_verdicts_are_asked_once_and_choose_the_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(folder)
    with FakeServer(answer=verdict) as server:
        monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(model, server))
        whole = verify(folder, model, 1)
        assert server.asked.total() == 24, "what never ended its reasoning, or failed, is not asked about"
        assert not any("hm" in body["messages"][-1]["content"] for body in server.bodies)
        assert verify(folder, model, 8) == whole
        assert server.asked.total() == 24
    table = pl.read_parquet(folder / "assessed-1.parquet")
    assert table.height == 36
    assert table.group_by("sample").agg(pl.col("value").sum()).sort("sample").rows() == [(0, 11.0), (1, 0.0), (2, 0.0)]
    reasons = table.filter(pl.col("value").is_null())["error"]
    assert reasons.str.starts_with("unparseable").sum() == 1
    assert (reasons == "no answer after the reasoning").sum() == 12
    for policy, kept in (("drop", 11), ("keep", 11 + 1)):
        command = ["--questions", f"{folder}/drawn.parquet", "--answers", f"{folder}/answers.parquet"]
        command += ["--assessed", f"{folder}/assessed-1.parquet", "--by", "llm_verification"]
        command += ["--options", json.dumps({"unlabelled": policy})]
        command += ["--output", f"{folder}/kept.parquet", "--dropped", f"{folder}/dropped.parquet"]
        assert filter_answers.main(command) == 0
        assert pl.read_parquet(folder / "kept.parquet").height == kept
    reasons = pl.read_parquet(folder / "dropped.parquet")["reason"]
    assert (reasons == "found wrong").sum() == 12
    assert (reasons == "empty answer").sum() == 12, "what never ended its reasoning"


def test_verdicts_that_none_can_read_end_in_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(folder)
    answers(folder / "answers.parquet", {text: ["It is right 7."] for text in TEXTS})
    with FakeServer(answer=verdict) as server:
        monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(model, server))
        with pytest.raises(AssertionError):
            verify(folder, model, 1)
    assert "no verdict could be read out of 12 answers" in capsys.readouterr().err


def test_a_missing_shard_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = answers(folder / "nothing.parquet", {})
    command = ["--answers", f"{folder}/answers.parquet", "--assessed", str(nothing), "--method", "llm_verification"]
    assert read_assessments.main([*command, "--output", f"{folder}/assessed.parquet"]) == 1
    assert "24 answers of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"reasoning": "r", "correct": true}', 1.0),
        ('<think>\n{"correct": true}\n</think>\nSo: {"correct": false, "reasoning": "no"}', 0.0),
        ('{"reasoning": "r", "correct": "yes"}', None),
        ('{"reasoning": "r", "correct": 1}', None),
        ('{"reasoning": "cut', None),
        ("", None),
    ],
)
def test_only_a_clear_verdict_counts(text: str, value: float | None) -> None:
    row = {"text": text, "error": None, "finish_reason": "stop", "completion_tokens": 3}
    label = read_verdict(row)
    assert label.value == value
    assert (label.error is None) == (value is not None)


@pytest.mark.parametrize("method", ["difficulty", "ask_llm", "response_length"])
def test_labels_do_not_depend_on_the_shards(folder: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(folder)
    prompt = {"difficulty": "difficulty_math", "ask_llm": "ask_llm"}.get(method)
    made = []
    with FakeServer() as server:
        monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(model, server))
        for shards in (1, 8):
            paths = [str(folder / f"{shard}-of-{shards}.parquet") for shard in range(shards)]
            for shard, path in enumerate(paths):
                command = ["--questions", f"{folder}/drawn.parquet", "--method", method, "--output", path]
                command += ["--prompt", str(PROMPTS / f"{prompt}.md")] if prompt else []
                command += ["--shard", str(shard), "--shards", str(shards)]
                assert label_questions.main([*command, *asking_arguments(folder, model)]) == 0
            command = ["--questions", f"{folder}/drawn.parquet", "--method", method, "--completions", *paths]
            assert parse_labels.main([*command, "--output", f"{folder}/labels.parquet"]) == 0
            made.append((folder / "labels.parquet").read_bytes())
    assert made[0] == made[1]
    assert pl.read_parquet(folder / "labels.parquet")["question_id"].to_list() == sorted(map(question_id, TEXTS))


def test_a_length_is_counted_in_tokens_or_characters() -> None:
    row = {"text": "four", "error": None, "completion_tokens": 1}
    assert read_label("response_length", row).value == 1.0
    assert read_label("response_length", row, "characters").value == 4.0
    assert read_label("response_length", {**row, "text": None}, "characters").value is None


@pytest.mark.parametrize(("text", "status"), [("Judge {{ question }}.", 1), ("{{ question }}: {{ response }}", 0)])
def test_a_prompt_that_shows_no_answer_is_refused_before_anything_is_asked(
    text: str, status: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rubric.md").write_text(text)
    model = write_model(folder)
    with FakeServer(answer=verdict) as server:
        monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(model, server))
        command = ["--questions", f"{folder}/drawn.parquet", "--answers", f"{folder}/answers.parquet"]
        command += [
            "--prompt",
            f"{folder}/rubric.md",
            "--shard",
            "0",
            "--shards",
            "1",
            "--output",
            f"{folder}/raw.parquet",
        ]
        assert verify_answers.main([*command, *asking_arguments(folder, model)]) == status
        assert server.asked.total() == (24 if status == 0 else 0)
    if status:
        assert "rubric.md has no {{ answer }} or {{ response }} in it: write it where" in capsys.readouterr().err


def test_rationales_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {f"question {n}": [json.dumps({"reasoning": f"{n} " * 20_000, "correct": True})] for n in range(100, 164)}
    asked = answers(tmp_path / "asked.parquet", texts)
    monkeypatch.setattr(streams.read_batches, "__defaults__", (None, 4))
    tracemalloc.start()
    table = read_assessments.verdicts([asked])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table["rationale"].str.len_bytes().sum() > 5_000_000
    assert most < 2_000_000
