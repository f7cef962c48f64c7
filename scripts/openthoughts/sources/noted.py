"""The sections of the lock that are no pins: what it notes for estimates. The plan reads them by these names."""

from __future__ import annotations

ARCHITECTURES = "architectures"
"""What the ``config.json`` of models says of their cost, by model."""

NOTED_ROWS = {"source": "source_rows", "benchmark": "benchmark_rows"}
"""Kind -> the section with the rows of its entries, by entry."""
