"""Sources that the paper names but that cannot be read: unpublished, unknown, or written by a model from documents.

Entry: ``note`` says what is known.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.sources.rows import Entry


def read(entry: Entry, revision: str | None) -> Iterator[pl.DataFrame]:
    """Raise ``UserError`` with what is known of the source."""
    note = str(entry["note"]).rstrip(".")
    raise UserError(f"this source cannot be fetched ({note}): choose another, or give its questions as local files.")
