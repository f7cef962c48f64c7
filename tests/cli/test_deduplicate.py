"""deduplicate.py: which of equal and similar questions stays, and what is said about the others."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from rapidfuzz import fuzz

import deduplicate
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import QUESTIONS

BASE = "Determine the number of ways to colour the 12 edges of a cube with three colours up to rotation."


def table(rows: list[tuple[str, str, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (None if text is None else question_id(text), text, "math", source, row, None, "{}", float(len(row)))
            for source, row, text in rows
        ],
        schema={**QUESTIONS, "label": pl.Float64},
        orient="row",
    )


def run(tmp_path: Path, rows: pl.DataFrame, *options: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows.write_parquet(tmp_path / "questions.parquet")
    output, dropped = tmp_path / "output.parquet", tmp_path / "dropped.parquet"
    arguments = ["--questions", tmp_path / "questions.parquet", *options, "--output", output, "--dropped", dropped]
    assert deduplicate.main([str(argument) for argument in arguments]) == 0
    return pl.read_parquet(output), pl.read_parquet(dropped)


ROWS = [
    ("a", "1", BASE),
    ("b", "1", BASE),
    ("a", "2", BASE + " Explain."),
    ("a", "3", None),
    ("b", "2", None),
    ("a", "4", ""),
]


def test_none_keeps_everything(tmp_path: Path) -> None:
    kept, dropped = run(tmp_path, table(ROWS), "--level", "none")
    assert len(kept) == 6
    assert dropped.is_empty()
    assert "kept_question_id" in dropped.columns


def test_exact_keeps_the_first_row_of_a_text_and_every_missing_text(tmp_path: Path) -> None:
    kept, dropped = run(tmp_path, table(ROWS), "--level", "exact")
    assert set(kept.select("source", "source_row").rows()) == {
        ("a", "1"),
        ("a", "2"),
        ("a", "3"),
        ("b", "2"),
        ("a", "4"),
    }
    assert kept.columns == [*QUESTIONS, "label"]
    row = dropped.row(0, named=True)
    assert len(dropped) == 1
    assert (row["source"], row["source_row"], row["reason"], row["score"]) == ("b", "1", "exact", 100.0)
    assert (row["kept_question_id"], row["kept_source"], row["kept_source_row"]) == (question_id(BASE), "a", "1")


def test_fuzzy_keeps_the_fullest_wording_and_names_it(tmp_path: Path) -> None:
    kept, dropped = run(tmp_path, table(ROWS), "--level", "fuzzy", "--similarity", "90")
    assert set(kept.select("source", "source_row").rows()) == {("a", "2"), ("a", "3"), ("b", "2"), ("a", "4")}
    assert dropped.select("source", "source_row", "reason").rows() == [("a", "1", "fuzzy"), ("b", "1", "fuzzy")]
    assert set(dropped["kept_question_id"]) == {question_id(BASE + " Explain.")}
    assert set(dropped["kept_source_row"]) == {"2"}
    assert set(dropped["score"]) == {fuzz.ratio(BASE, BASE + " Explain.")}


def test_a_chain_of_similar_questions_depends_on_the_rule(tmp_path: Path) -> None:
    chain = ["x" * 40, "x" * 36, "x" * 32, "x" * 28]  # each similar to the next at 93, to the one after at 86
    rows = table([("a", str(i), text) for i, text in enumerate(chain)])
    kept, dropped = run(tmp_path, rows, "--level", "fuzzy", "--similarity", "90")
    assert sorted(kept["question"], key=len, reverse=True) == [chain[0], chain[2]]
    assert dict(dropped.select("question_id", "kept_question_id").rows()) == {
        question_id(chain[1]): question_id(chain[0]),
        question_id(chain[3]): question_id(chain[2]),
    }
    kept, dropped = run(tmp_path, rows, "--level", "fuzzy", "--similarity", "90", "--rule", "any")
    assert kept["question"].to_list() == [chain[0]]
    assert dict(dropped.select("question_id", "kept_question_id").rows())[question_id(chain[2])] == question_id(
        chain[1]
    )


@pytest.mark.parametrize("level", ["none", "exact", "fuzzy"])
def test_order_of_rows_does_not_matter(tmp_path: Path, level: str) -> None:
    rows = table([*ROWS, *[("c", str(i), BASE[:i]) for i in range(60, 97, 3)]])
    first = run(tmp_path, rows, "--level", level)
    again = run(tmp_path, rows.reverse(), "--level", level)
    assert first[0].equals(again[0])
    assert first[1].equals(again[1])
    assert len(first[0]) + len(first[1]) == len(rows)
