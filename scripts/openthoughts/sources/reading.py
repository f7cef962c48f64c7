"""Read the questions of a catalog entry: what its connector yields, as batches of the ``QUESTIONS`` table.

Nothing is held but one batch, so a source of millions of rows needs the memory of one batch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash, question_ids
from openthoughts.base.streams import TableWriter
from openthoughts.base.tables import QUESTIONS
from openthoughts.sources.entries import connector_of
from openthoughts.sources.rows import Entry, Row, raw_batch

log = logging.getLogger(__name__)

REPORTED_ROWS = 100_000
"""Rows between two lines of the log."""


def passages(text: str, length: int) -> list[str]:
    """``text`` in pieces of at most ``length`` characters, cut between paragraphs where that is possible."""
    pieces = [""]
    for paragraph in re.split(r"\n\s*\n", text):
        for start in range(0, len(paragraph), length):
            part = paragraph[start : start + length]
            joined = f"{pieces[-1]}\n\n{part}" if pieces[-1] and start == 0 else pieces[-1] + part
            pieces[-1:] = [joined] if len(joined) <= length else [pieces[-1], part]
    return [piece for piece in pieces if piece.strip()]


def in_passages(batches: Iterator[pl.DataFrame], length: int) -> Iterator[pl.DataFrame]:
    """Batches of ``RAW`` with every text cut by ``passages``; ``#0``, ``#1``, … after a row's key number its pieces."""
    for batch in batches:
        rows: list[Row] = []
        for key, text, reference, metadata in batch.iter_rows():
            pieces = passages(text or "", length)
            rows += [(f"{key}#{number}", piece, reference, metadata) for number, piece in enumerate(pieces)]
        yield raw_batch(rows)


def _limited(batches: Iterator[pl.DataFrame], limit: int | None) -> Iterator[pl.DataFrame]:
    """The first ``limit`` rows (all for None), reading no further than needed."""
    left = limit
    for batch in batches:
        if left is None:
            yield batch
            continue
        yield batch.head(left)
        left -= batch.height
        if left <= 0:
            return


def _questions(batch: pl.DataFrame, name: str, domain: str) -> pl.DataFrame:
    """A batch of ``QUESTIONS`` of a batch of ``RAW``, without blank questions."""
    kept = batch.filter(pl.col("question").str.contains(r"\S").fill_null(False))
    return kept.with_columns(
        question_ids(kept["question"]), pl.lit(domain).alias("domain"), pl.lit(name).alias("source")
    ).select(pl.col(column).cast(dtype) for column, dtype in QUESTIONS.items())


def read_questions(name: str, domain: str, entry: Entry, revision: str | None = None) -> Iterator[pl.DataFrame]:
    """Yield a catalog entry's questions as batches of the ``QUESTIONS`` table, in the source's own order.

    Rows without a question are left out. ``limit`` counts rows that have one. Raises ``UserError`` for an entry that
    cannot be read.
    """
    connector = connector_of(name, entry)
    try:
        raw = connector.read(revision)
        if "passage" in entry:
            raw = in_passages(raw, int(entry["passage"]))
        yield from _limited((_questions(batch, name, domain) for batch in raw), entry.get("limit"))
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def repeats(table: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Rows that bring ``table`` up to ``count`` rows: whole rounds, and of the last one the rows of smallest rank.

    A repeat keeps its question; ``~1``, ``~2``, … after its source row tell the rounds apart.
    """
    rounds = []
    for number in range(1, -(-count // table.height)):
        left = count - number * table.height
        repeated = table.with_columns(pl.col("source_row") + f"~{number}")
        if left < table.height:
            ranks = pl.Series([keyed_hash(seed, row, number, "repeat") for row in table["source_row"]], dtype=pl.UInt64)
            repeated = repeated.filter(ranks.rank("ordinal") <= left)
        rounds.append(repeated)
    return pl.concat([table.clear(), *rounds])


def write_questions(name: str, domain: str, entry: Entry, revision: str | None, output: Path | str) -> int:
    """Write a catalog entry's questions to a Parquet file, batch by batch; returns the number of rows.

    Raises ``UserError`` when there is no row, or when two rows have the same key.
    """
    keys: list[pl.Series] = []
    kept: list[pl.DataFrame] = []
    repeat_to = entry.get("repeat_to", 0)
    with TableWriter(output, QUESTIONS) as writer:
        for batch in read_questions(name, domain, entry, revision):
            keys.append(batch["source_row"].hash(seed=0))
            if writer.rows < repeat_to:
                kept.append(batch)
            if writer.rows // REPORTED_ROWS != (writer.rows + batch.height) // REPORTED_ROWS:
                log.info("%s: %d rows", name, writer.rows + batch.height)
            writer.write(batch)
        if writer.rows == 0:
            raise UserError(f"{name} has no question: check its path, columns and filters in the catalog.")
        if pl.concat(keys).n_unique() < writer.rows:
            raise UserError(f"{name} has rows that share a key: name a column of unique values as `key`, or none.")
        if writer.rows < repeat_to:
            writer.write(repeats(pl.concat(kept), repeat_to, int(entry.get("seed", 0))))
    return writer.rows
