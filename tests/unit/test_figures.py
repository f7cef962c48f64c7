"""The numbers behind the plots of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import drawn

from openthoughts.base.cli import UserError
from openthoughts.base.tables import DROPPED, SCORES, write_table
from openthoughts.report.plot_data import binned, decontaminated, funnel, model_scores, usage, usage_files
from openthoughts.report.plots import histogram


def test_the_funnel_counts_rows_and_different_questions_by_domain(tmp_path: Path) -> None:
    one = drawn(tmp_path / "1.parquet", ["a", "a", "b"], "code")
    two = drawn(tmp_path / "2.parquet", ["b", "c"], "code")
    three = drawn(tmp_path / "3.parquet", ["z"], "math")
    counts = funnel([("sourced", one), ("sourced", two), ("sourced", three), ("drawn", two)])
    assert counts.rows() == [("sourced", "code", 5, 3), ("sourced", "math", 1, 1), ("drawn", "code", 2, 2)]


def test_whole_numbers_of_a_short_range_get_a_bin_each() -> None:
    assert histogram(pl.Series([1.0, 3.0, 3.0, None])).rows() == [(0.5, 1.5, 1), (1.5, 2.5, 0), (2.5, 3.5, 2)]
    wide = histogram(pl.Series(range(1000)), bins=10)
    assert wide["count"].to_list() == [100] * 10
    assert wide.row(0) == (-0.5, 99.5, 100)
    assert histogram(pl.Series([None], dtype=pl.Float64)).is_empty()
    assert histogram(pl.Series([2.5]))["count"].sum() == 1


def test_series_of_one_label_are_pooled(tmp_path: Path) -> None:
    for name, values in (("1", [1.0, 2.0]), ("2", [2.0])):
        pl.DataFrame({"value": values}).write_parquet(tmp_path / name)
    counts = binned([("x", tmp_path / "1", "value"), ("x", tmp_path / "2", "value")], bins=40)
    assert counts.select("series", "count").rows() == [("x", 1), ("x", 2)]


def test_a_question_counts_once_for_each_benchmark_and_method(tmp_path: Path) -> None:
    rows = [("q", "ours", "0", "decontaminate", "similarity", "AIME", "indel")] * 2
    rows += [("q", "ours", "0", "decontaminate", "13-gram", "AIME", "13-gram")]
    rows += [("q", "ours", "1", "decontaminate", "similarity", "AIME", "indel")]
    schema = {**DROPPED, "benchmark": pl.String, "method": pl.String}
    write_table(pl.DataFrame(rows, schema=schema, orient="row"), tmp_path / "dropped.parquet", DROPPED)
    counts = decontaminated([("ours", tmp_path / "dropped.parquet")])
    assert counts.rows() == [("ours", "AIME", "13-gram", 1), ("ours", "AIME", "indel", 2)]


def scores(path: Path, rows: list[tuple[str, float | None]]) -> Path:
    table = pl.DataFrame(
        [(name, 10, 2, score, 3.0, 0, 1, 0) for name, score in rows], schema=dict(SCORES), orient="row"
    )
    write_table(table, path, SCORES)
    return path


def test_a_model_has_an_average_only_where_every_benchmark_has_a_score(tmp_path: Path) -> None:
    both = model_scores([("m", scores(tmp_path / "1", [("a", 10.0), ("b", 20.0)]))])
    assert both.select("benchmark", "score", "questions").rows() == [
        ("average", 15.0, 20),
        ("a", 10.0, 10),
        ("b", 20.0, 10),
    ]
    assert both["standard_error"][0] == pytest.approx(18**0.5 / 2)
    lacking = model_scores([("m", scores(tmp_path / "2", [("a", 10.0), ("b", None)]))])
    assert lacking["benchmark"].to_list() == ["a", "b"]
    assert model_scores([("m", scores(tmp_path / "3", [("a", 10.0)]))])["benchmark"].to_list() == ["a"]


def test_time_and_memory_are_summed_by_rule(tmp_path: Path) -> None:
    for rule, job, seconds, memory in (("fit", "1", 10, 500.0), ("fit", "2", 30, "NA"), ("fetch", "x/1", 5, "-")):
        path = tmp_path / rule / f"{job}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"s": seconds, "max_rss": memory, "cpu_time": 2}) + "\n")
    table = usage(usage_files(tmp_path))
    assert table.rows() == [("fit", 2, 40.0, 30.0, 4.0, 500.0), ("fetch", 1, 5.0, 5.0, 2.0, None)]


def test_a_missing_or_damaged_measurement_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no benchmark file"):
        usage_files(tmp_path)
    (tmp_path / "x.jsonl").write_text("s\th:m:s\n1\t0:00:01\n")
    with pytest.raises(UserError, match="not a benchmark file"):
        usage([("x", tmp_path / "x.jsonl")])
