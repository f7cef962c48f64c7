"""Which of equal or similar questions is kept, and which one stands for those that are dropped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import polars as pl

from openthoughts.base.tables import DROPPED, QUESTIONS, Schema, read_table, write_table
from openthoughts.similarity import Engine, Rule, first_similar

EVIDENCE: Schema = {
    **DROPPED,
    "kept_question_id": pl.String,
    "kept_source": pl.String,
    "kept_source_row": pl.String,
    "score": pl.Float64,  # similarity in per cent
}
"""The dropped table: one row per dropped row."""

Level = Literal["none", "exact", "fuzzy"]

STAGE = "deduplicate"
_ORDER = ("question_id", "source", "source_row")

log = logging.getLogger(__name__)


def deduplicate(
    questions: Path,
    level: Level,
    similarity: float,
    rule: Rule,
    output: Path,
    dropped: Path,
    *,
    threads: int = 0,
    engine: Engine = "auto",
) -> None:
    """Write the rows that stay to ``output``, the others with the question that stands for them to ``dropped``."""
    rows = read_table(questions, QUESTIONS).sort(_ORDER)
    leaders = rows.filter(
        pl.lit(level == "none") | pl.col("question").is_null() | pl.col("question").is_first_distinct()
    )
    twins = _twins(leaders, similarity, rule, threads, engine) if level == "fuzzy" else _no_twins()
    kept = leaders.join(twins, on="question", how="anti", maintain_order="left")
    evidence = _evidence(rows, kept, twins) if level != "none" else pl.DataFrame(schema=dict(EVIDENCE))
    write_table(kept, output, QUESTIONS)
    write_table(evidence, dropped, EVIDENCE)
    log.info("kept %d of %d rows", len(kept), len(rows))


def _no_twins() -> pl.DataFrame:
    return pl.DataFrame(schema={"question": pl.String, "kept_question": pl.String, "score": pl.Float64})


def _twins(leaders: pl.DataFrame, similarity: float, rule: Rule, threads: int, engine: Engine) -> pl.DataFrame:
    """Texts dropped as similar: question, kept_question, score."""
    texts = leaders.drop_nulls("question").sort(
        pl.col("question").str.len_chars(), "question_id", descending=[True, False]
    )["question"]
    found = first_similar(texts.to_list(), similarity, rule, threads=threads, engine=engine)
    similar = found.twin >= 0
    return pl.DataFrame(
        {
            "question": texts.filter(similar),
            "kept_question": texts.gather(found.twin[similar]),
            "score": found.score[similar],
        }
    )


def _evidence(rows: pl.DataFrame, kept: pl.DataFrame, twins: pl.DataFrame) -> pl.DataFrame:
    """One row per row that is not kept: by the twin of its text, else (an equal row) by its own text."""
    leaders = rows.filter(pl.col("question").is_not_null() & pl.col("question").is_first_distinct()).select(
        kept_question="question", kept_question_id="question_id", kept_source="source", kept_source_row="source_row"
    )
    return (
        rows.join(kept.select(_ORDER), on=_ORDER, how="anti", nulls_equal=True)
        .join(twins, on="question", how="left")
        .with_columns(
            stage=pl.lit(STAGE),
            reason=pl.when(pl.col("score").is_null()).then(pl.lit("exact")).otherwise(pl.lit("fuzzy")),
            kept_question=pl.coalesce("kept_question", "question"),
            score=pl.col("score").fill_null(100.0),
        )
        .join(leaders, on="kept_question", how="left")
        .select(*EVIDENCE)
        .sort(_ORDER)
    )
