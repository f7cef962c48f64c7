"""Where things lie: the workflow's own folder, and the folder that it runs in.

A path that a configuration or a catalog names is looked for in the working folder first, then in the workflow's own. So
the user's files are found wherever the workflow is, and what the workflow ships wherever it runs. Only the path as it
is written is part of a plan, never the folder it was found in.
"""

from __future__ import annotations

from pathlib import Path

WORKFLOW = Path(__file__).resolve().parents[3]
"""The workflow's own folder: ``scripts``, ``catalog``, ``envs``, ``demo`` and ``report`` lie in it."""

ENGINES = WORKFLOW / "scripts" / "engines"
"""The programs that run in an engine's environment, which has nothing of the library."""


def located(path: Path | str) -> Path:
    """The path in the working folder, else in the workflow's own; where neither has it, as it is written."""
    written = Path(path).expanduser()
    if not written.exists() and (WORKFLOW / written).exists():
        return WORKFLOW / written
    return written
