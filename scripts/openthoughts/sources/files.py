"""Tables of questions in files: Parquet, Arrow, JSON lines, JSON, CSV, and archives of them; read batch by batch."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from openthoughts.base.cli import UserError
from openthoughts.base.streams import batched
from openthoughts.sources.columns import check_columns
from openthoughts.sources.formats import FORMATS, format_of
from openthoughts.sources.rows import BATCH_ROWS
from openthoughts.sources.text import valid_text


def valid_values(value: Any) -> Any:
    """A JSON value in which every text is valid Unicode."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, dict):
        return {valid_text(key): valid_values(one) for key, one in value.items()}
    if isinstance(value, list):
        return [valid_values(one) for one in value]
    return value


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="")
    return path.open(encoding="utf-8", errors="replace", newline="")


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a whole Parquet file: get it again.") from error
    with file:
        check_columns(columns, file.schema_arrow.names, str(path))
        for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
            yield pl.DataFrame(pl.from_arrow(batch))


def _arrow(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """A stream of Arrow batches, as ``datasets`` saves them."""
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            check_columns(columns, stream.schema.names, str(path))
            for batch in stream:
                yield pl.DataFrame(pl.from_arrow(batch.select(list(columns))))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a whole Arrow file: get it again.") from error


def _zip(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The tables of an archive, in the order of their names; JSON members may hold one object each."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        names = sorted(name for name in archive.namelist() if format_of(Path(name)))
        if not names:
            raise UserError(f"{path} holds no table: name another file.")
        objects: list[Any] = []
        for name in names:
            if name.endswith(".json"):
                value = json.loads(archive.read(name))
                objects += value if isinstance(value, list) else [value]
            else:
                yield from read_file(Path(archive.extract(name, folder)), columns)
        yield from _records(path, iter(objects), columns)


def _records(path: Path, records: Iterator[Any], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Batches of JSON objects; a column must occur in at least one object of the file."""
    seen: set[str] = set()
    for rows in batched(records, BATCH_ROWS):
        for row in rows:
            if not isinstance(row, dict):
                raise UserError(f"{path} holds something other than JSON objects: write one object per line.")
            seen.update(row)
        values = {name: [valid_values(row.get(name)) for row in rows] for name in columns}
        yield pl.DataFrame([pl.Series(name, column, strict=False) for name, column in values.items()])
    if seen:
        check_columns(columns, sorted(seen), str(path))


def _lines(path: Path) -> Iterator[Any]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{path} line {number} is not JSON ({error.msg}): fix or remove it.") from error


def _json_list(path: Path) -> Iterator[Any]:
    with _open(path) as file:
        try:
            value = json.load(file)
        except json.JSONDecodeError as error:
            raise UserError(f"{path} is not JSON ({error}): fix it.") from error
    if not isinstance(value, list):
        raise UserError(f"{path} is not a list of JSON objects: write a list, or one object per line as .jsonl.")
    yield from value


def _csv(path: Path, columns: Sequence[str], delimiter: str) -> Iterator[pl.DataFrame]:
    csv.field_size_limit(2**31 - 1)
    with _open(path) as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        check_columns(columns, list(rows.fieldnames or []), str(path))
        for batch in batched(rows, BATCH_ROWS):
            yield pl.DataFrame(
                {name: [row[name] for row in batch] for name in columns},
                schema_overrides=dict.fromkeys(columns, pl.String),
            )


def read_file(path: Path, columns: Sequence[str], file_format: str | None = None) -> Iterator[pl.DataFrame]:
    """Yield the named columns of a file, batch by batch, in the file's order.

    Raises ``UserError`` for a file that cannot be read, is of no known format, or lacks a column.
    """
    kind = file_format or format_of(path)
    if kind == "parquet":
        yield from _parquet(path, columns)
    elif kind == "arrow":
        yield from _arrow(path, columns)
    elif kind == "zip":
        yield from _zip(path, columns)
    elif kind == "jsonl":
        yield from _records(path, _lines(path), columns)
    elif kind == "json":
        yield from _records(path, _json_list(path), columns)
    elif kind in ("csv", "tsv"):
        yield from _csv(path, columns, "," if kind == "csv" else "\t")
    else:
        raise UserError(f"{path} is of no known format: use one of {', '.join(FORMATS)}, or say `format`.")
