"""The user's own questions: a Parquet, JSON lines, JSON or CSV file, or a folder of them.

Entry: ``path`` of a file or folder (below a folder every file of a known format is read, in the order of their names),
``format`` where the name does not tell, and the keys of ``openthoughts.sources.columns``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from openthoughts.base.cli import UserError
from openthoughts.base.places import located
from openthoughts.sources.connectors import LocalPath, TableKeys
from openthoughts.sources.counts import Counted, rows_of
from openthoughts.sources.formats import format_of
from openthoughts.sources.rows import Entry

if TYPE_CHECKING:
    import polars as pl


def local_files(entry: Entry) -> list[Path]:
    """The files an entry reads, in their order. Raises ``UserError`` when there is none."""
    path = located(entry["path"])
    if path.is_file():
        return [path]
    files = sorted(one for one in path.rglob("*") if one.is_file() and (format_of(one) or "format" in entry))
    if not files:
        raise UserError(f"{path} is neither a file nor a folder of Parquet, JSON lines, JSON or CSV files: fix `path`.")
    return files


def _read(entry: Entry) -> Iterator[pl.DataFrame]:
    """Yield the files' rows; the key is the row's number, after ``FILE:`` in a folder, unless a column is named."""
    from openthoughts.sources.columns import extract, needed_columns
    from openthoughts.sources.files import read_file

    columns = needed_columns(entry)
    folder = located(entry["path"])
    for path in local_files(entry):
        prefix = f"{path.relative_to(folder)}:" if folder.is_dir() and "key" not in entry else ""
        row = 0
        for batch in read_file(path, columns, entry.get("format")):
            yield extract(batch, entry, row, prefix)
            row += batch.height


class Local(TableKeys):
    """Files of this machine."""

    path: LocalPath = Field(description="A file, or a folder of them.")

    @classmethod
    def counted(cls, entry: Entry) -> Counted | None:
        """The rows of its files; null where they cannot be read or are archives."""
        try:
            return rows_of(local_files(entry), entry.get("format"))
        except (UserError, OSError):
            return None

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        yield from _read(self.written())
