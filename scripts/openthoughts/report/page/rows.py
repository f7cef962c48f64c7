"""What the sections of a recipe's page read of its stages."""

from __future__ import annotations

import polars as pl

from openthoughts.report.manifest import Stage

SAMPLE = 4000
"""Questions of a stage and domain whose tokens are counted: those of smallest id, an even sample of hashes."""


def name_of(stage: Stage) -> str:
    """The catalog's name of what a stage fetched; its id where it has none."""
    return str(stage.settings.get("name", stage.identity))


def source_of(stage: Stage) -> str:
    """A source's name, which is the label of its stages."""
    return stage.identity.rpartition("-")[0]


def sampled(stage: Stage, *columns: str, most: int = SAMPLE) -> pl.DataFrame:
    """``question_id`` and some columns of the rows of smallest id, about ``most`` of them; ids are hashes."""
    table = pl.scan_parquet(stage.path, glob=False)
    share = most / max(1, stage.rows or 0)
    if share < 1:
        table = table.filter(pl.col("question_id") < f"{int(share * 16**8):08x}")
    return table.select("question_id", *columns).collect()
