"""How many rows the files of a source have, as far as that can be told in a moment.

Every job of a cluster reads the plan, which has a shard for so many rows: a count depends on the files alone, takes
bounded time, and imports what is slow only for Parquet and Arrow, whose headers say it. Of long texts the first part
tells how many bytes a row has. What cannot be told is null; why a file cannot be read is told when it is fetched.
"""

from __future__ import annotations

import csv
import functools
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

from openthoughts.sources.formats import format_of

READ_BYTES = 16 << 20
"""Bytes of text that are read: files that are longer, or of a folder those after so many, are estimated."""

MOST_FILES = 200
"""Files of a folder that are opened; the others have as many rows to a byte as these."""

BETWEEN = re.compile(r"[\s,]*")
"""What stands between the items of a JSON list."""

HEADED = ("parquet", "arrow")
"""Formats that say how many rows there are without being read."""

LARGEST_ARROW = 4 << 30
"""Bytes of an Arrow file that is counted: its batches have to be looked at one by one."""


class Counted(NamedTuple):
    """A number of rows."""

    rows: int
    is_exact: bool = True
    """Whether it was counted; else it follows from the part that was read."""


def rows_of(files: Sequence[Path], file_format: str | None = None) -> Counted | None:
    """Rows of all files together; null where one of those that are opened does not tell."""
    sizes = [path.stat().st_size for path in files]
    rows = opened = text = 0
    is_exact = True
    for number, (path, size) in enumerate(zip(files, sizes, strict=True)):
        if number >= MOST_FILES or text > READ_BYTES:
            break
        kind = file_format or format_of(path)
        counted = _counted(path, size, path.stat().st_mtime_ns, kind)
        if counted is None:
            return None
        rows, opened, is_exact = rows + counted.rows, opened + size, is_exact and counted.is_exact
        text += 0 if kind in HEADED else size
    if opened == sum(sizes):
        return Counted(rows, is_exact)
    return Counted(round(rows * sum(sizes) / opened), is_exact=False) if rows else None


@functools.cache
def _counted(path: Path, size: int, modified: int, kind: str | None) -> Counted | None:
    """Rows of a file of this size and time of its last change."""
    try:
        if kind in HEADED:
            headed = _headed(path, kind) if kind == "parquet" or size <= LARGEST_ARROW else None
            return None if headed is None else Counted(headed)
        if kind not in ("jsonl", "json", "csv", "tsv"):
            return None
        with path.open("rb") as raw:
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw)
            rows, whole = _json_items(file) if kind == "json" else _lines(file, kind)
            if whole:
                return Counted(rows)
            return Counted(round(rows * size / raw.tell()), is_exact=False) if rows else None
    except (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error):
        return None


def _headed(path: Path, kind: str) -> int | None:
    import pyarrow as pa

    try:
        if kind == "parquet":
            from pyarrow import parquet

            return int(parquet.read_metadata(path).num_rows)
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return sum(int(batch.num_rows) for batch in stream)
    except pa.ArrowException:
        return None


def _head(file: IO[bytes]) -> Iterator[bytes]:
    """The first lines of a file, about ``READ_BYTES``; very long ones come in pieces."""
    read = 0
    while read < READ_BYTES and (line := file.readline(READ_BYTES)):
        read += len(line)
        yield line


def _lines(file: IO[bytes], kind: str) -> tuple[int, bool]:
    """Rows of the head of a file with a row on a line, and whether that is all of it."""
    lines = _head(file)
    if kind == "jsonl":
        rows = sum(not line.isspace() for line in lines)
    else:
        csv.field_size_limit(2**31 - 1)
        texts = (line.decode(errors="replace") for line in lines)
        rows = max(0, sum(bool(row) for row in csv.reader(texts, delimiter="," if kind == "csv" else "\t")) - 1)
    return rows, not file.read(1)


def _json_items(file: IO[bytes]) -> tuple[int, bool]:
    """Items of the head of a JSON list, and whether that is all of it."""
    text = file.read(READ_BYTES).decode(errors="replace")
    if not file.read(1):
        value = json.loads(text)
        return (len(value), True) if isinstance(value, list) else (1, True)
    decoder, place, items = json.JSONDecoder(), text.index("[") + 1, 0
    while match := BETWEEN.match(text, place):
        try:
            _, place = decoder.raw_decode(text, match.end())
        except ValueError:
            break
        items += 1
    return items, False
