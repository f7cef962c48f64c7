"""The checkpoints of a run: which there are, and which are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARKER = "complete.json"

KEPT = 2
"""Checkpoints of a run that are kept while it runs."""


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, by step."""
    found = [path for path in run.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def whole(checkpoint: Path) -> dict[str, Any] | None:
    """The marker of a checkpoint whose files all have the size that they had when it was finished, else None."""
    try:
        marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
        sizes = {name: (checkpoint / name).stat().st_size for name in marker["files"]}
    except (OSError, ValueError, KeyError):
        return None
    return dict(marker) if sizes == marker["files"] else None


def last_checkpoint(run: Path) -> Path | None:
    """The whole checkpoint that ends the training, if it is there."""
    return next((path for path in reversed(checkpoints(run)) if (whole(path) or {}).get("last")), None)


def free_name(checkpoint: Path) -> Path:
    """A name beside an incomplete checkpoint that LLaMA-Factory does not take for a checkpoint."""
    number = 1
    while (path := checkpoint.with_name(f"incomplete-{checkpoint.name}-{number}")).exists():
        number += 1
    return path
