"""What a job took of a model, noted in its output where that is no table of completions: of embeddings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

KEY = "usage"
"""Where the note stands: in a table's metadata, or in a JSON object."""


@dataclass(frozen=True)
class Usage:
    """Requests to a model, the tokens that they held, and how many failed for good."""

    requests: int
    input_tokens: int = 0
    failed: int = 0

    def metadata(self) -> dict[str, str]:
        """The note for a table's metadata."""
        return {KEY: json.dumps(asdict(self))}

    def to_json(self) -> dict[str, Any]:
        """The note for a JSON object."""
        return {KEY: asdict(self)}

    @staticmethod
    def of(path: Path) -> Usage:
        """What was noted in a table or a JSON object; one without a note counts a request per row or example."""
        if path.suffix == ".json":
            told = json.loads(path.read_text(encoding="utf-8"))
            return Usage(**told[KEY]) if KEY in told else Usage(told["good"] + told["bad"])
        note = pl.read_parquet_metadata(path).get(KEY)
        if note is None:
            return Usage(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
        return Usage(**json.loads(note))
