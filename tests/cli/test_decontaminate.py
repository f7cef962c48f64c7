"""decontaminate.py and its evidence, on small tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from rapidfuzz import fuzz

import decontaminate
import measure_sensitivity
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import QUESTIONS

LONG = (
    "A farmer has 17 sheep and 23 goats in two separate fields. Every morning she moves three sheep from the first "
    "field to the second, and every evening one goat wanders back."
)


def questions(texts: list[str | None], source: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "question_id": [None if text is None else question_id(text) for text in texts],
            "question": texts,
            "domain": "math",
            "source": source,
            "source_row": [str(row) for row in range(len(texts))],
            "reference_answer": None,
            "metadata": "{}",
        },
        schema=dict(QUESTIONS),
    )


def run(tmp_path: Path, rows: pl.DataFrame, benchmarks: list[pl.DataFrame], *options: str) -> tuple[pl.DataFrame, ...]:
    rows.write_parquet(tmp_path / "questions.parquet")
    paths = []
    for number, table in enumerate(benchmarks):
        paths.append(tmp_path / f"benchmark{number}.parquet")
        table.write_parquet(paths[-1])
    output, dropped = tmp_path / "output.parquet", tmp_path / "dropped.parquet"
    arguments = ["--questions", tmp_path / "questions.parquet", "--benchmarks", *paths, *options]
    assert decontaminate.main([str(a) for a in [*arguments, "--output", output, "--dropped", dropped]]) == 0
    return pl.read_parquet(output), pl.read_parquet(dropped)


def test_every_match_of_a_dropped_question_is_evidence(tmp_path: Path) -> None:
    near = LONG.replace("17", "18")
    part = (
        "Unrelated words come first. Every morning she moves three sheep from the first field to the second, and so on."
    )
    kept, dropped = run(
        tmp_path,
        questions([near, part, "What is the boiling point of water at sea level?"], "web"),
        [questions([LONG], "fields"), questions(["Something else altogether, with no sheep in it.", LONG], "mixed")],
    )
    assert kept["question"].to_list() == ["What is the boiling point of water at sea level?"]
    found = dropped.select("question_id", "benchmark", "benchmark_question_id", "reason", "method").rows()
    assert sorted(found) == sorted(
        [
            *[(question_id(near), b, question_id(LONG), "similarity", "indel") for b in ("fields", "mixed")],
            *[(question_id(near), b, question_id(LONG), "ngram", "13-gram") for b in ("fields", "mixed")],
            *[(question_id(part), b, question_id(LONG), "ngram", "13-gram") for b in ("fields", "mixed")],
        ]
    )
    shared = dropped.filter(question_id=question_id(part), benchmark="fields")["shared_text"].item()
    assert shared == ". Every morning she moves three sheep from the first field to the second, and"
    assert dropped.filter(question_id=question_id(part), benchmark="fields")["score"].item() == 16
    assert set(dropped["stage"]) == {"decontaminate"}


def test_all_rows_of_a_repeated_question_are_listed(tmp_path: Path) -> None:
    kept, dropped = run(tmp_path, questions([LONG, "fine", LONG], "web"), [questions([LONG], "fields")])
    assert kept["source_row"].to_list() == ["1"]
    assert dropped.filter(method="indel")["source_row"].to_list() == ["0", "2"]


def test_missing_and_empty_texts(tmp_path: Path) -> None:
    kept, dropped = run(tmp_path, questions([None, "", "a"], "web"), [questions([None, "b" * 40], "fields")])
    assert sorted(kept["source_row"]) == ["0", "1", "2"]
    assert dropped.is_empty()
    kept, dropped = run(tmp_path, questions([None, "", "a"], "web"), [questions([""], "fields")])
    assert sorted(kept["source_row"]) == ["0", "2"]
    assert dropped["score"].to_list() == [100.0]


def test_min_chars_spares_short_questions_from_similarity_only(tmp_path: Path) -> None:
    short = questions(["What is 3 plus 4?", LONG], "web")
    benchmark = [questions(["What is 5 plus 4?", LONG], "fields")]
    assert run(tmp_path, short, benchmark)[0].is_empty()
    kept, _ = run(tmp_path, short, benchmark, "--min-chars", "20")
    assert kept["question"].to_list() == ["What is 3 plus 4?"]
    assert run(tmp_path, short, benchmark, "--min-chars", "10000")[1]["method"].to_list() == ["13-gram"]


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    rows = questions([LONG, LONG.upper(), "one", "two", LONG[:150], LONG + "!", "three"], "web")
    benchmarks = [questions([LONG, "one"], "a"), questions(["two"], "b")]
    first = run(tmp_path, rows, benchmarks)
    again = run(tmp_path, rows.reverse(), benchmarks[::-1])
    assert first[0].equals(again[0])
    assert first[1].equals(again[1])


def test_extra_columns_stay(tmp_path: Path) -> None:
    kept, _ = run(tmp_path, questions(["fine"], "web").with_columns(label=pl.lit(4.0)), [questions([LONG], "a")])
    assert kept["label"].to_list() == [4.0]


@pytest.mark.parametrize("option", [("--similarity", "0"), ("--similarity", "101"), ("--ngram", "0")])
def test_impossible_settings_are_one_sentence(
    tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--questions", "q", "--benchmarks", "b", "--output", "o", *option]
    assert decontaminate.main([*arguments, "--dropped", "d"]) == 1
    assert option[0] in capsys.readouterr().err
    assert measure_sensitivity.main(arguments) == 1
    assert option[0] in capsys.readouterr().err


def test_unknown_tokenizer_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--questions", "q", "--benchmarks", "b", "--tokenizer", "x", "--output", "o", "--dropped", "d"]
    assert decontaminate.main(arguments) == 1
    assert "there is no tokenizer 'x'" in capsys.readouterr().err


def test_sensitivity_counts_what_each_threshold_would_drop(tmp_path: Path) -> None:
    edited = LONG.replace("17 sheep", "19 lambs").replace("goats", "cows").replace("second, and", "third one; then")
    rows = questions([edited, LONG, "What is 3 plus 4?", "Nothing like the others at all."], "web")
    benchmarks = [questions([LONG], "fields"), questions(["What is 5 plus 4?"], "sums")]
    rows.write_parquet(tmp_path / "rows.parquet")
    given = ["--questions", str(tmp_path / "rows.parquet"), "--benchmarks"]
    for number, table in enumerate(benchmarks):
        table.write_parquet(tmp_path / f"{number}.parquet")
        given.append(str(tmp_path / f"{number}.parquet"))
    assert measure_sensitivity.main([*given, "--output", str(tmp_path / "sensitivity.parquet")]) == 0
    table = pl.read_parquet(tmp_path / "sensitivity.parquet")
    scores = {
        "fields": [fuzz.ratio(text, LONG) for text in rows["question"]],
        "sums": [fuzz.ratio(text, "What is 5 plus 4?") for text in rows["question"]],
    }
    assert set(table["threshold"]) == set(range(60, 101))
    for threshold in range(60, 101):
        at = table.filter(threshold=threshold, length="any")
        for benchmark, values in scores.items():
            assert at.filter(benchmark=benchmark)["similarity"].item() == sum(value >= threshold for value in values)
        either = [max(pair) >= threshold for pair in zip(*scores.values(), strict=True)]
        assert at.filter(benchmark="any")["similarity"].item() == sum(either)
        assert at.filter(benchmark="any")["ngram"].item() == 2
    sums = table.select((pl.col("similarity_alone") + pl.col("both") == pl.col("similarity")).all())
    assert sums.item()
    short = table.filter(benchmark="sums", length="0 to 119", threshold=90)
    assert short.select("questions", "similarity", "similarity_alone", "ngram").row(0) == (2, 1, 1, 0)
    assert table.filter(benchmark="any", threshold=60, length="120 to 299")["questions"].item() == 2
