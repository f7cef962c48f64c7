"""Tables read and written in pieces."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from openthoughts.base.cli import UserError
from openthoughts.base.streams import ROWS, TableWriter, read_batches

SCHEMA = {"number": pl.Int64, "text": pl.String}


def numbers(start: int, count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"text": [f"row {n}" for n in range(start, start + count)], "number": range(start, start + count)}
    )


def written(path: Path, pieces: list[int]) -> bytes:
    with TableWriter(path, SCHEMA) as writer:
        start = 0
        for count in pieces:
            writer.write(numbers(start, count))
            start += count
    return path.read_bytes()


def test_the_bytes_depend_on_the_rows_not_on_the_pieces(tmp_path: Path) -> None:
    total = 2 * ROWS + 17
    whole = written(tmp_path / "whole.parquet", [total])
    assert whole == written(tmp_path / "pieces.parquet", [1, 0, ROWS, 100, total - ROWS - 101])
    read = pl.concat(read_batches(tmp_path / "whole.parquet", SCHEMA, rows=1000))
    assert read.equals(numbers(0, total).select("number", "text"))


def test_a_table_of_no_rows_has_its_columns(tmp_path: Path) -> None:
    written(tmp_path / "none.parquet", [])
    assert dict(pl.read_parquet(tmp_path / "none.parquet").schema) == SCHEMA


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), TableWriter(tmp_path / "half.parquet", SCHEMA) as writer:
        writer.write(numbers(0, 10))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.parquet"
    path.write_bytes(written(tmp_path / "whole.parquet", [100])[:-50])
    with pytest.raises(UserError, match=r"cut\.parquet is not a whole Parquet file"):
        list(read_batches(path, SCHEMA))
