"""Sources that the paper names but that cannot be read: unpublished, unknown, or written by a model from documents.

Entry: ``note`` says what is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from openthoughts.base.cli import UserError
from openthoughts.sources.connectors import Connector
from openthoughts.sources.rows import Entry

if TYPE_CHECKING:
    import polars as pl


def _read(entry: Entry) -> Iterator[pl.DataFrame]:
    """Raise ``UserError`` with what is known of the source."""
    note = str(entry["note"]).rstrip(".")
    raise UserError(f"this source cannot be fetched ({note}): choose another, or give its questions as local files.")


class Unresolved(Connector):
    """A source that cannot be read."""

    note: str = Field(description="What is known of it.")

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        yield from _read(self.written())
