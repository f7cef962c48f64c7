"""The formats of files of questions, by their names. The plan reads it, so it imports nothing slow."""

from __future__ import annotations

from pathlib import Path

FORMATS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".zip": "zip",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
"""File name suffix -> format. All but Parquet may be compressed with gzip (``.gz``)."""


def format_of(path: Path) -> str | None:
    """The format of a file by its name, None for a file of no known format."""
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return FORMATS.get(suffix.lower())
