"""The rows that a connector yields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from openthoughts.base.tables import Schema

Entry = Mapping[str, Any]

RAW: Schema = {
    "source_row": pl.String,  # key of the row in its source
    "question": pl.String,
    "reference_answer": pl.String,  # nullable
    "metadata": pl.String,  # JSON object
}
"""What a connector yields; a null or blank question is left out of the table and counted."""

BATCH_ROWS = 20_000
"""Rows of a batch where the connector chooses."""

Row = tuple[str, str | None, str | None, str]
"""A row of ``RAW`` as Python values, in its order."""


def raw_batch(rows: Sequence[Row]) -> pl.DataFrame:
    """A table of ``RAW`` of Python rows."""
    return pl.DataFrame(rows, schema=dict(RAW), orient="row")


def metadata_json(**values: Any) -> str:
    """The metadata column's text; keys without a value are left out."""
    return json.dumps({key: value for key, value in values.items() if value is not None}, ensure_ascii=False)
