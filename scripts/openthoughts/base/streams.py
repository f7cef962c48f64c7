"""Tables larger than memory: Parquet read and written in pieces of a bounded number of rows.

The pieces of a written file depend on its rows alone, so the same rows give the same bytes however they arrived.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from openthoughts.base.cli import UserError
from openthoughts.base.tables import Schema, atomic_path, scan_table

Thing = TypeVar("Thing")

ROWS = 2048
"""Rows read at a time and rows of a row group: about 100 MB of the longest answers."""


def batched(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Successive lists of ``size`` items, the last one of what is left (Python 3.12 has it in ``itertools``)."""
    rest = iter(things)
    while block := list(islice(rest, size)):
        yield block


def read_batches(
    path: Path | str, schema: Schema, columns: Sequence[str] | None = None, rows: int = ROWS
) -> Iterator[pl.DataFrame]:
    """The table in frames of at most ``rows`` rows, checked against ``schema``; ``columns`` reads only those.

    Raises ``UserError`` where the file is missing, damaged, or lacks a column.
    """
    scan_table(path, schema)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows, columns=None if columns is None else list(columns)):
                yield pl.DataFrame(pl.from_arrow(batch))
    except pa.ArrowException as error:
        raise UserError(f"{path} is not a whole Parquet file: delete it and run again.") from error


class Spilled:
    """Texts by key that are kept, compressed, in a nameless temporary file of ``folder`` (context manager)."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Spilled:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, key: str, text: str) -> None:
        """Keep a text."""
        data = zlib.compress(text.encode("utf-8", "surrogatepass"), 1)
        self._places[key] = (self._file.seek(0, os.SEEK_END), len(data))
        self._file.write(data)

    def __getitem__(self, key: str) -> str:
        start, size = self._places[key]
        self._file.seek(start)
        return zlib.decompress(self._file.read(size)).decode("utf-8", "surrogatepass")


class TableWriter:
    """Write a table of ``schema`` piece by piece, atomically (context manager): zstd, row groups of ``ROWS`` rows."""

    def __init__(self, path: Path | str, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> None:
        self._path = path
        self._schema = dict(schema)
        self._stack = ExitStack()
        self._pending: list[pl.DataFrame] = []
        self.rows = 0

    def __enter__(self) -> TableWriter:
        temporary = self._stack.enter_context(atomic_path(self._path))
        arrow_schema = pl.DataFrame(schema=self._schema).to_arrow().schema
        self._writer = self._stack.enter_context(pq.ParquetWriter(temporary, arrow_schema, compression="zstd"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush(everything=True)
        self._stack.__exit__(kind, value, trace)

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows (columns cast to the schema; further columns are left out)."""
        if frame.is_empty():
            return
        self._pending.append(frame.select(pl.col(name).cast(dtype) for name, dtype in self._schema.items()))
        self.rows += frame.height
        self._flush(everything=False)

    def _flush(self, everything: bool) -> None:
        held = sum(frame.height for frame in self._pending)
        if held < (1 if everything else ROWS):
            return
        rows = pl.concat(self._pending)
        whole = held if everything else held - held % ROWS
        for start in range(0, whole, ROWS):
            group = rows.slice(start, min(ROWS, whole - start))
            self._writer.write_table(group.to_arrow().cast(self._writer.schema), row_group_size=ROWS)
        self._pending = [rows.slice(whole)] if whole < held else []
