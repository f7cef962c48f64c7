"""What a job took of a model, noted in its output where that is no table of completions: of embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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
            return _usage(told[KEY]) if KEY in told else Usage(told["good"] + told["bad"])
        note = pl.read_parquet_metadata(path).get(KEY)
        if note is None:
            return Usage(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
        return _usage(json.loads(note))


def _usage(note: Mapping[str, int]) -> Usage:
    """What a note says; what a later version notes besides is left out."""
    known = {each.name for each in fields(Usage)}
    return Usage(**{name: value for name, value in note.items() if name in known})
