"""Documents in PDF files of this machine, page by page, by their text layer.

Entry: ``path`` is a file or a folder of them. A row is a page; its key is ``FILE#PAGE`` (pages from 1). A page without
a text layer (a scan) has no text and is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from openthoughts.base.cli import UserError
from openthoughts.base.places import located
from openthoughts.sources.connectors import Connector, LocalPath
from openthoughts.sources.rows import BATCH_ROWS, Entry, Row, metadata_json, raw_batch
from openthoughts.sources.text import valid_text

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)


def pages(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of every page of a PDF file. Raises ``UserError`` where it cannot be read."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(path)
        for number, page in enumerate(reader.pages, start=1):
            yield number, valid_text(page.extract_text())
    except (PyPdfError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read as PDF ({error}): fix or remove it.") from error


def _read(entry: Entry) -> Iterator[pl.DataFrame]:
    """Yield the pages of the entry's files, in the order of their names."""
    root = located(entry["path"])
    files = sorted(root.rglob("*.pdf")) if root.is_dir() else [root]
    if not files:
        raise UserError(f"{root} holds no PDF file: fix `path`.")
    rows: list[Row] = []
    blank = 0
    for file in files:
        name = file.relative_to(root).as_posix() if root.is_dir() else file.name
        for number, text in pages(file):
            blank += not text.strip()
            rows.append((f"{name}#{number}", text, None, metadata_json(file=name, page=number)))
            if len(rows) == BATCH_ROWS:
                yield raw_batch(rows)
                rows = []
    if blank:
        log.warning("%d pages of %s have no text layer and are left out", blank, root)
    yield raw_batch(rows)


class Pdf(Connector):
    """PDF files of this machine."""

    path: LocalPath = Field(description="A file, or a folder of them.")

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        yield from _read(self.written())
