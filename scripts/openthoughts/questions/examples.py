"""Good and bad examples: the texts that a classifier, or a direction among embeddings, is learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash
from openthoughts.base.tables import COMPLETIONS, QUESTIONS, scan_table


def example_texts(paths: Sequence[Path], most: int | None, seed: int) -> list[str]:
    """The distinct texts of tables of questions or of answers: of each table the ``most`` of smallest keyed hash.

    They are in the order of that hash, so neither the tables' order nor that of their rows matters. Raises
    ``UserError`` where a table has no text.
    """
    ranked: dict[str, int] = {}
    for path in paths:
        table = _texts(path)
        ranks = [(keyed_hash(seed, question, sample, "example"), text) for question, sample, text in table.iter_rows()]
        if not ranks:
            raise UserError(f"{path} has no text to learn from: choose another source of examples.")
        for rank, text in sorted(ranks)[:most]:
            ranked[text] = min(rank, ranked.get(text, rank))
    return sorted(ranked, key=lambda text: (ranked[text], text))


def _texts(path: Path) -> pl.DataFrame:
    """question_id, sample and text of the distinct questions, or of the answers that came, of a table."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: run the stage that makes it.")
    if "text" in pl.scan_parquet(path, glob=False).collect_schema():
        rows = scan_table(path, COMPLETIONS).select("question_id", "sample", "text")
        return rows.filter(pl.col("text").is_not_null()).collect()
    rows = scan_table(path, QUESTIONS).select("question_id", pl.lit(0).alias("sample"), "question")
    return rows.unique("question_id").collect()
