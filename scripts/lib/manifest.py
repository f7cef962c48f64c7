"""What a recipe is made of: its stages, their files and counts, and the versions of the programs that made them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lib.cli import UserError

PACKAGES = ("snakemake", "polars", "pyarrow", "openai", "math-verify", "reasoning-gym")
"""The packages whose versions a manifest names."""


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe: what it does, for which domain (null: all), its id and its main file."""

    kind: str
    domain: str | None
    identity: str
    path: Path


def manifest(recipe: str, stages: Sequence[Stage], folder: Path, counts: Path | None) -> dict[str, Any]:
    """The manifest of a recipe as JSON values; paths are relative to ``folder``.

    Raises ``UserError`` where a stage's file is missing.
    """
    return {
        "recipe": recipe,
        "counts": None if counts is None else _json(counts),
        "stages": [_described(stage, folder) for stage in stages],
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _described(stage: Stage, folder: Path) -> dict[str, Any]:
    if not stage.path.exists():
        raise UserError(f"{stage.path} does not exist: run the stage that makes it.")
    return {
        "kind": stage.kind,
        "domain": stage.domain,
        "id": stage.identity,
        "path": os.path.relpath(stage.path, folder),
        "rows": _rows(stage.path),
        "bytes": stage.path.stat().st_size if stage.path.is_file() else None,
    }


def _rows(path: Path) -> int | None:
    """How many rows a Parquet file has; null for any other."""
    if path.suffix != ".parquet" or not path.is_file():
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a whole Parquet file: delete it and run again.") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a JSON file: run the stage that makes it.") from error


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def link(path: Path, target: Path) -> None:
    """Make ``path`` a relative symbolic link to ``target``, in place of the link that was there.

    Raises ``UserError`` where ``path`` is something other than a link, or ``target`` does not exist.
    """
    if path.exists() and not path.is_symlink():
        raise UserError(f"{path} is in the way of a link to {target}: move it away.")
    if not target.exists():
        raise UserError(f"{target} does not exist: run the stage that makes it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, path.parent))
    temporary.replace(path)
