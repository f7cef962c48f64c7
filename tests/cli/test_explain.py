"""explain.py answers why a question was dropped, from what the stages left behind."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from tests.finished_recipe import LEAK, Finished

import decontaminate
import deduplicate
import explain
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import QUESTIONS
from openthoughts.report.side_by_side import common_parts, side_by_side

BENCHMARK = "Find the largest integer n for which n^3 + 100 is divisible by n + 10, and prove that it is the largest."
SIMILAR = "What is the largest integer n for which n^3 + 100 is divisible by n + 10? Prove that it is the largest."
TWIN = SIMILAR + " Explain."
OTHER = "A farmer has 17 sheep and 23 goats."


def write(path: Path, source: str, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True)
    rows = [(question_id(text), text, "math", source, str(row), None, "{}") for row, text in enumerate(texts)]
    pl.DataFrame(rows, schema=dict(QUESTIONS), orient="row").write_parquet(path)
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results in which the real stages dropped questions."""
    source = write(tmp_path / "sources" / "web-1" / "questions.parquet", "web", [SIMILAR, OTHER, OTHER + "!"])
    benchmark = write(tmp_path / "benchmarks" / "olympiad-1" / "questions.parquet", "olympiad", [BENCHMARK])
    clean, kept = tmp_path / "clean" / "web-2", tmp_path / "deduplicated" / "math-3"
    for folder in (clean, kept):
        folder.mkdir(parents=True)
    outputs = ["--output", str(clean / "questions.parquet"), "--dropped", str(clean / "dropped.parquet")]
    assert decontaminate.main(["--questions", str(source), "--benchmarks", str(benchmark), *outputs]) == 0
    outputs = ["--output", str(kept / "questions.parquet"), "--dropped", str(kept / "dropped.parquet")]
    arguments = ["--questions", str(clean / "questions.parquet"), "--level", "fuzzy", *outputs]
    assert deduplicate.main(arguments) == 0
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], results: Path, *arguments: str) -> str:
    assert explain.main([*arguments, "--results", str(results), "--width", "120"]) == 0
    return capsys.readouterr().out


def test_contaminated_question(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, results, question_id(SIMILAR)[:10])
    assert f"question {question_id(SIMILAR)}" in out
    assert "sources/web-1: kept" in out
    assert "clean/web-2: DROPPED (web:0)" in out
    assert f"similar to olympiad {question_id(BENCHMARK)}" in out
    assert "tokens in a row with olympiad" in out
    assert "‹ the largest integer n for which n^3" in out.replace("\n", " ")
    assert "deduplicated" not in out


def test_near_duplicate_by_its_row(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, results, "web:1")
    assert "deduplicated/math-3: DROPPED (web:1)" in out
    assert f"% similar to {question_id(OTHER + '!')}, which was kept" in out


def test_kept_question(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, results, "web:2")
    assert "DROPPED" not in out
    assert "deduplicated/math-3: kept" in out


@pytest.mark.parametrize(("name", "message"), [("ffffffff", "has no question"), ("", "give more digits")])
def test_what_names_no_question(results: Path, capsys: pytest.CaptureFixture[str], name: str, message: str) -> None:
    assert explain.main([name, "--results", str(results)]) == 1
    assert message in capsys.readouterr().err


def test_folder_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main(["ab", "--results", str(tmp_path / "nothing")]) == 1
    assert "--results" in capsys.readouterr().err


def test_columns_hold_the_texts_and_mark_what_is_common() -> None:
    left, right = "one two\nthree 中文 four five six seven", "one\ttwo three five six"
    lines = list(side_by_side(left, right, common_parts(left, right), 43, colour=False))
    assert all(" |" in line for line in lines)
    assert "".join(line.split(" |")[0].strip() for line in lines).replace("‹", "").replace("›", "").replace(
        " ", ""
    ) == left.replace(" ", "").replace("\n", "")
    assert any("ive six›" in line for line in lines)
    coloured = list(side_by_side(left, right, common_parts(left, right), 43, colour=True))
    assert any("\x1b[1;32m" in line for line in coloured)
    assert all(line.count("\x1b[1;32m") == line.count("\x1b[0m") for line in coloured)


def test_a_question_is_followed_to_its_rows_in_a_recipe(tiny: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    (drawn,) = (stages["drawn"] for domain, stages in tiny.recipe.domains.items() if domain == "math")
    question = pl.read_parquet(tiny.plan.path(drawn)).sort("question_id").row(0, named=True)
    out = run(capsys, Path(tiny.plan.results), question["question_id"])
    assert f"drawn/{drawn.id}: kept" in out
    assert out.count("  sample ") == 4
    assert "% agree)" in out
    assert re.search(r"labels/\S+: label [\d.]+ \(place \d+ of 31\)", out)
    door = tiny.manifest.parent
    assert f"recipe tiny ({door}):" in out
    assert f"from {question['source']}: " in out
    rows = pl.read_parquet(door / "dataset/dataset.parquet").with_row_index("place")
    places = rows.filter(pl.col("question_id") == question["question_id"])["place"].to_list()
    assert f"rows of {door}/dataset/dataset.parquet: {places[0]} (sample " in out


def test_a_question_that_was_dropped_is_said_not_to_be_in_the_dataset(
    tiny: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, Path(tiny.plan.results), question_id(LEAK))
    assert "DROPPED" in out
    assert f"not in {tiny.manifest.parent}/dataset/dataset.parquet" in out
