"""A share of a source's different questions, chosen before anything is asked about them.

A question is kept where its keyed hash (seed, question) lies below the share, so a larger share keeps what a smaller
one kept. Of few questions those of the smallest hashes are kept, down to a least number.
"""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from openthoughts.base.hashing import keyed_hash
from openthoughts.base.streams import TableWriter, read_batches
from openthoughts.base.tables import DROPPED, QUESTIONS, scan_table

log = logging.getLogger(__name__)

STAGE = "thin_source"
BATCH_ROWS = 65_536
"""Rows read at a time."""

HASHES = 2**64
"""How many keyed hashes there are."""


def kept_questions(questions: pl.Series, share: float, least: int, seed: int) -> pl.Series:
    """The ids, of different questions, that are kept: a ``share`` (0 to 1) of them, ``least`` where there are so many.

    The ids come in the order of their hashes.
    """
    hashes = pl.Series("hash", [keyed_hash(seed, one, salt="thin") for one in questions], dtype=pl.UInt64)
    ranked = pl.DataFrame({"question_id": questions, "hash": hashes}).sort("hash", "question_id")
    below = int((ranked["hash"] < int(share * HASHES)).sum()) if share < 1 else ranked.height
    return ranked["question_id"].head(max(below, least))


def thin(questions: Path, share: float, least: int, seed: int, *, output: Path, dropped: Path) -> None:
    """Write all rows of a share of a table's different questions, in the table's order, reading it in pieces.

    The dropped table has the others' rows. Raises ``UserError`` where the table is missing or damaged.
    """
    different = scan_table(questions, QUESTIONS).select("question_id").unique().collect(engine="streaming")
    kept = frozenset(kept_questions(different["question_id"], share, least, seed))
    reason = pl.lit(f"not among the {len(kept)} questions looked at")
    with TableWriter(output, QUESTIONS) as looked_at, TableWriter(dropped, DROPPED) as left_out:
        for batch in read_batches(questions, QUESTIONS, rows=BATCH_ROWS):
            is_kept = pl.Series([one in kept for one in batch["question_id"]], dtype=pl.Boolean)
            looked_at.write(batch.filter(is_kept))
            left_out.write(batch.filter(~is_kept).with_columns(stage=pl.lit(STAGE), reason=reason))
    log.info(
        "%d of %d different questions, %d of %d rows stay",
        len(kept),
        different.height,
        looked_at.rows,
        looked_at.rows + left_out.rows,
    )
