"""The rows that a connector yields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

Entry = Mapping[str, Any]

RAW = ("source_row", "question", "reference_answer", "metadata")
"""Columns of what a connector yields, all texts: the key of the row in its source, the question (one that is null or
blank is left out of the table and counted), the reference answer (nullable) and a JSON object."""

BATCH_ROWS = 20_000
"""Rows of a batch where the connector chooses."""

Row = tuple[str, str | None, str | None, str]
"""A row of ``RAW`` as Python values, in its order."""


def raw_batch(rows: Sequence[Row]) -> pl.DataFrame:
    """A table of ``RAW`` of Python rows."""
    import polars as pl

    return pl.DataFrame(rows, schema=dict.fromkeys(RAW, pl.String), orient="row")


def metadata_json(**values: Any) -> str:
    """The metadata column's text; keys without a value are left out."""
    return json.dumps({key: value for key, value in values.items() if value is not None}, ensure_ascii=False)
