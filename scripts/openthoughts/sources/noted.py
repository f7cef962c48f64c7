"""The sections of the lock that are no pins: what it notes for estimates. The plan reads them by these names."""

from __future__ import annotations

ARCHITECTURES = "architectures"
"""What the ``config.json`` of models says of their cost, by model."""


def noted_rows(kind: str) -> str:
    """The section with the rows of a kind's entries (sources or benchmarks), by entry."""
    return f"{kind}_rows"
