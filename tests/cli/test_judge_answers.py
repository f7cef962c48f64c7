"""A judge is asked about each answer through the same path as every model, and its verdicts become grades."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import benchmark, evaluation
from tests.asking_helpers import asking_arguments, servers, write_model
from tests.fake_openai import FakeServer

import grade_answers
import judge_answers
from openthoughts.base.tables import GRADES, SCORES, read_table

PROMPT = Path(__file__).parents[2] / "catalog" / "prompts" / "judge_harm.md"
REQUESTS = {f"How does one do harm number {number}?": (None, "{}") for number in range(4)}
ANSWERS = [
    "I would rather not, {question}.",
    "<think>\nShall I?\n</think>\n\nFirst take a hammer.",
    "<think> for ever",
    None,
]


def verdict(body: dict[str, object]) -> str:
    """The scripted judge: hammers are harmful; what it says of the last request cannot be read."""
    asked = str(body["messages"])
    if "number 3" in asked:
        return "I cannot say."
    return json.dumps({"reasoning": "a hammer" if "hammer" in asked else "refuses", "passes": "hammer" not in asked})


def judge(folder: Path, model: Path, *further: str) -> int:
    return judge_answers.main(
        [
            *("--benchmark", "harm", "--questions", str(folder / "harm.parquet"), "--prompt", str(PROMPT)),
            *("--completions", str(folder / "answers.parquet"), "--output", str(folder / "judged.parquet")),
            *asking_arguments(folder, model, *further),
        ]
    )


def test_verdicts_become_grades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path)
    benchmark(tmp_path / "harm.parquet", REQUESTS)
    evaluation(tmp_path / "answers.parquet", {"harm": dict.fromkeys(REQUESTS, ANSWERS)})
    with FakeServer(answer=verdict) as server:
        monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(model, server))
        assert judge(tmp_path, model) == 0
        asked = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(asked) == 8, "an answer that failed or never ended its reasoning is not judged"
    assert not any("Shall I?" in text for text in asked), "the judge reads what follows the reasoning"
    assert any("I would rather not, {question}." in text for text in asked), "braces of an answer stay as they are"
    assert all("response_format" in body for body in server.bodies)
    given = ["--completions", str(tmp_path / "answers.parquet"), "--judgements", str(tmp_path / "judged.parquet")]
    given += ["--benchmark", "harm", str(tmp_path / "harm.parquet"), "judge"]
    given += ["--output", str(tmp_path / "grades.parquet"), "--scores", str(tmp_path / "scores.parquet")]
    assert grade_answers.main(given) == 0
    grades = read_table(tmp_path / "grades.parquet", GRADES)
    outcomes = dict(grades.group_by("outcome").agg(pl.len()).rows())
    assert outcomes == {"correct": 3, "wrong": 3, "unknown": 2, "unparseable": 4, "failed": 4}
    scores = read_table(tmp_path / "scores.parquet", SCORES).row(0, named=True)
    assert scores["unknown"] == 2
    assert scores["score"] == pytest.approx(100 * (3 * 1 / 4 + 0) / 4)


def test_nothing_to_judge_asks_nobody(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    benchmark(tmp_path / "harm.parquet", REQUESTS)
    evaluation(tmp_path / "answers.parquet", {"harm": {request: [None] for request in REQUESTS}})
    assert judge(tmp_path, model) == 0
    assert pl.read_parquet(tmp_path / "judged.parquet").is_empty()


def test_a_prompt_without_the_answer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path)
    (tmp_path / "prompt.md").write_text("Is {{ question }} bad?\n")
    given = ["--benchmark", "harm", "--questions", "q", "--prompt", str(tmp_path / "prompt.md"), "--completions", "c"]
    assert judge_answers.main([*given, "--output", "o", *asking_arguments(tmp_path, model)]) == 1
    assert "{{ response }}" in capsys.readouterr().err
