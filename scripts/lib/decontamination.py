"""Which questions a benchmark gives away, and why."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from lib.cli import UserError
from lib.ngrams import NgramIndex
from lib.similarity import join
from lib.tables import DROPPED, QUESTIONS, Schema, atomic_path, read_table, write_table
from lib.tokens import Tokenizer

EVIDENCE: Schema = {
    **DROPPED,
    "benchmark": pl.String,
    "benchmark_question_id": pl.String,
    "method": pl.String,  # indel, or N-gram
    "score": pl.Float64,  # similarity in per cent, or tokens of the longest shared run
    "shared_text": pl.String,  # the longest shared run; null for similarity
}
"""The dropped table: one row per dropped row, benchmark question and method."""

STAGE = "decontaminate"
_BLOCK = 65_536
_ORDER = ("question_id", "source", "source_row")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """When a question is dropped: ``similarity`` in per cent, ``ngram`` in tokens.

    Questions of fewer than ``min_chars`` code points are not tested for similarity.
    """

    similarity: float = 75.0
    ngram: int = 13
    min_chars: int = 0


def decontaminate(
    questions: Path, benchmarks: Sequence[Path], rule: Rule, tokenizer: Tokenizer, output: Path, dropped: Path
) -> None:
    """Write the questions that match no benchmark question to ``output``, every match of the others to ``dropped``."""
    rows = read_table(questions, QUESTIONS).sort(_ORDER)
    references = read_benchmarks(benchmarks)
    texts = rows.select("question_id", "question").drop_nulls().unique("question").sort("question_id")["question"]
    contaminated: list[pl.Series] = []
    with atomic_path(dropped) as temporary, pq.ParquetWriter(temporary, _arrow_schema(), compression="zstd") as writer:
        for matches in find_matches(texts, references, rule, tokenizer):
            contaminated.append(matches["question"].unique())
            evidence = _evidence(rows, matches)
            if len(evidence):
                writer.write_table(evidence.to_arrow().cast(_arrow_schema()))
    bad = pl.concat(contaminated) if contaminated else pl.Series("question", [], dtype=pl.String)
    kept = rows.filter(pl.col("question").is_null() | ~pl.col("question").is_in(bad.implode()))
    write_table(kept, output, QUESTIONS)
    log.info("kept %d of %d rows: %d of %d questions match a benchmark", len(kept), len(rows), len(bad), len(texts))


def read_benchmarks(paths: Sequence[Path]) -> pl.DataFrame:
    """Distinct benchmark questions: benchmark, benchmark_question_id, question; those without a text left out."""
    tables = [read_table(path, QUESTIONS).select(*QUESTIONS) for path in paths]
    table = pl.concat(tables).drop_nulls("question")
    if table.is_empty():
        raise UserError(f"{', '.join(map(str, paths))} hold no benchmark question: check the benchmarks.")
    return (
        table.select(benchmark="source", benchmark_question_id="question_id", question="question")
        .unique()
        .sort("benchmark", "benchmark_question_id", "question")
    )


def find_matches(
    texts: pl.Series, references: pl.DataFrame, rule: Rule, tokenizer: Tokenizer
) -> Iterator[pl.DataFrame]:
    """Matches of distinct texts, in blocks of texts: question, benchmark, benchmark_question_id, method, ..."""
    distinct = references["question"].unique(maintain_order=True)
    names = references.join(
        pl.DataFrame({"question": distinct, "reference": range(len(distinct))}), on="question", how="left"
    ).select("benchmark", "benchmark_question_id", pl.col("reference").cast(pl.Int64))
    reference_texts = distinct.to_list()
    index = NgramIndex(tokenizer, reference_texts, rule.ngram)
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        found = pl.concat([_similar(block, reference_texts, rule), _shared(block, index, rule)])
        yield found.join(names, on="reference", how="inner").drop("reference")
        log.info("compared %d of %d questions", start + len(block), len(texts))


_FOUND: Schema = {
    "question": pl.String,
    "reference": pl.Int64,
    "reason": pl.String,
    "method": pl.String,
    "score": pl.Float64,
    "shared_text": pl.String,
}


def _similar(texts: pl.Series, references: list[str], rule: Rule) -> pl.DataFrame:
    long_enough = texts.filter(texts.str.len_chars() >= rule.min_chars)
    found = [
        pl.DataFrame({"question": long_enough.gather(batch.left), "reference": batch.right, "score": batch.score})
        for batch in join(long_enough.to_list(), references, rule.similarity)
    ]
    return _labelled(found, "similarity", "indel", pl.lit(None, pl.String))


def _shared(texts: pl.Series, index: NgramIndex, rule: Rule) -> pl.DataFrame:
    runs = index.find(texts.to_list())
    found = pl.DataFrame(
        {
            "question": texts.gather([run.text for run in runs]),
            "reference": pl.Series([run.reference for run in runs], dtype=pl.Int64),
            "score": pl.Series([run.tokens for run in runs], dtype=pl.Float64),
            "shared_text": pl.Series([run.shared_text for run in runs], dtype=pl.String),
        }
    )
    return _labelled([found], "ngram", f"{rule.ngram}-gram", pl.col("shared_text"))


def _labelled(found: list[pl.DataFrame], reason: str, method: str, shared_text: pl.Expr) -> pl.DataFrame:
    if not found:
        return pl.DataFrame(schema=dict(_FOUND))
    table = pl.concat(found).with_columns(
        reason=pl.lit(reason), method=pl.lit(method), shared_text=shared_text, score=pl.col("score").cast(pl.Float64)
    )
    return table.select([pl.col(name).cast(dtype) for name, dtype in _FOUND.items()])


def _evidence(rows: pl.DataFrame, matches: pl.DataFrame) -> pl.DataFrame:
    """One row per dropped row and match, in the order of the dropped table."""
    return (
        rows.select("question", *_ORDER)
        .join(matches, on="question", how="inner")
        .with_columns(stage=pl.lit(STAGE))
        .select(*EVIDENCE)
        .sort(*_ORDER, "benchmark", "benchmark_question_id", "method")
    )


def _arrow_schema():  # type: ignore[no-untyped-def]
    return pl.DataFrame(schema=dict(EVIDENCE)).to_arrow().schema
