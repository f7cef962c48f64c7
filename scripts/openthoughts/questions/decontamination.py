"""Which questions a benchmark gives away, and why."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from openthoughts.base.cli import UserError
from openthoughts.base.tables import DROPPED, QUESTIONS, Schema, atomic_path, empty_table, read_table, write_table
from openthoughts.models.tokenizers import Tokenizer
from openthoughts.similarity import Engine, Join
from openthoughts.similarity.ngrams import NgramIndex

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
_BLOCK = 16_384
ORDER = ("question_id", "source", "source_row")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """When a question is dropped: ``similarity`` in per cent, ``ngram`` in tokens.

    Questions of fewer than ``min_chars`` code points are not tested for similarity.
    """

    similarity: float = 75.0
    ngram: int = 13
    min_chars: int = 0

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options of a command line that say the rule."""
        add = parser.add_argument
        add("--similarity", type=float, default=75.0, help="drop at this Indel similarity, 0 to 100")
        add("--ngram", type=int, default=13, help="drop at a shared run of this many tokens")
        add("--min-chars", type=int, default=0, help="similarity only for questions of this many characters")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Rule:
        """The rule that a command line said. Raises ``UserError`` for one that cannot be."""
        if not 0 < arguments.similarity <= 100:
            raise UserError(f"--similarity {arguments.similarity:g} must be above 0 and at most 100.")
        if arguments.ngram < 1:
            raise UserError(f"--ngram {arguments.ngram} must be at least 1.")
        return cls(arguments.similarity, arguments.ngram, arguments.min_chars)


def decontaminate(
    questions: Path,
    benchmarks: Sequence[Path],
    rule: Rule,
    tokenizer: Tokenizer,
    output: Path,
    dropped: Path,
    *,
    threads: int = 0,
    engine: Engine = "auto",
) -> None:
    """Write the questions that match no benchmark question to ``output``, every match of the others to ``dropped``."""
    rows = read_table(questions, QUESTIONS).sort(ORDER)
    with_text = rows.drop_nulls("question")
    texts = distinct_texts(with_text)
    comparison = Comparison(read_benchmarks(benchmarks), rule, tokenizer, len(texts), threads=threads, engine=engine)
    schema = pl.DataFrame(schema=dict(EVIDENCE)).to_arrow().schema
    contaminated = [pl.Series("question_id", [], dtype=pl.String)]
    with atomic_path(dropped) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for start in range(0, len(texts), _BLOCK):
            matches = comparison.matches(texts[start : start + _BLOCK])
            if len(matches):
                contaminated.append(matches["question_id"].unique())
                writer.write_table(_evidence(with_text, matches).to_arrow().cast(schema))
            log.info("compared %d of %d questions", min(start + _BLOCK, len(texts)), len(texts))
    bad = pl.concat(contaminated)
    kept = rows.filter(pl.col("question").is_null() | ~pl.col("question_id").is_in(bad.implode()))
    write_table(kept, output, QUESTIONS)
    log.info("dropped %d of %d different questions, %d of %d rows stay", len(bad), len(texts), len(kept), len(rows))


def distinct_texts(rows: pl.DataFrame) -> pl.DataFrame:
    """The different questions among rows: question_id, question, in the order of the rows; none without a text."""
    return rows.select("question_id", "question").drop_nulls().unique(maintain_order=True)


def read_benchmarks(paths: Sequence[Path]) -> pl.DataFrame:
    """Distinct benchmark questions: benchmark, benchmark_question_id, question; those without a text left out."""
    tables = [empty_table(QUESTIONS), *(read_table(path, QUESTIONS).select(*QUESTIONS) for path in paths)]
    table = pl.concat(tables).drop_nulls("question")
    if paths and table.is_empty():
        raise UserError(f"{', '.join(map(str, paths))} hold no benchmark question: check the benchmarks.")
    return (
        table.select(benchmark="source", benchmark_question_id="question_id", question="question")
        .unique()
        .sort("benchmark", "benchmark_question_id", "question")
    )


class Comparison:
    """Benchmark questions (as from ``read_benchmarks``), ready to be compared with about ``rows`` questions in all."""

    def __init__(
        self,
        references: pl.DataFrame,
        rule: Rule,
        tokenizer: Tokenizer,
        rows: int,
        *,
        threads: int = 0,
        engine: Engine = "auto",
    ) -> None:
        distinct = references["question"].unique(maintain_order=True)
        numbered = pl.DataFrame({"question": distinct, "reference": np.arange(len(distinct))})
        self._names = references.join(numbered, on="question", how="left").drop("question")
        self._rule = rule
        self._join = Join(distinct.to_list(), rule.similarity, rows=rows, threads=threads, engine=engine)
        self._index = NgramIndex(tokenizer, distinct.to_list(), rule.ngram, engine=engine)

    def matches(self, texts: pl.DataFrame) -> pl.DataFrame:
        """All matches of distinct texts (question_id, question).

        Columns: question_id, question, benchmark, benchmark_question_id, reason, method, score, shared_text.
        """
        found = pl.concat([self._similar(texts), self._shared(texts)])
        return found.join(self._names, on="reference", how="inner").drop("reference")

    def _similar(self, texts: pl.DataFrame) -> pl.DataFrame:
        tested = texts.filter(pl.col("question").str.len_chars() >= self._rule.min_chars)
        found = [
            tested[batch.left].with_columns(
                reference=pl.Series(batch.right), score=pl.Series(batch.score), shared_text=pl.lit(None, pl.String)
            )
            for batch in self._join.matches(tested["question"].to_list())
            if len(batch)
        ]
        empty = texts.clear().select("question_id", "question", **_no_match())
        return pl.concat([empty, *found]).with_columns(reason=pl.lit("similarity"), method=pl.lit("indel"))

    def _shared(self, texts: pl.DataFrame) -> pl.DataFrame:
        runs = self._index.find(texts["question"].to_list())
        return texts[[run.text for run in runs]].with_columns(
            reference=pl.Series([run.reference for run in runs], dtype=pl.Int64),
            score=pl.Series([run.tokens for run in runs], dtype=pl.Float64),
            shared_text=pl.Series([run.shared_text for run in runs], dtype=pl.String),
            reason=pl.lit("ngram"),
            method=pl.lit(f"{self._rule.ngram}-gram"),
        )


def _no_match() -> dict[str, pl.Expr]:
    kinds = {"reference": pl.Int64, "score": pl.Float64, "shared_text": pl.String}
    return {name: pl.lit(None, kind) for name, kind in kinds.items()}


def _evidence(rows: pl.DataFrame, matches: pl.DataFrame) -> pl.DataFrame:
    """One row per dropped row and match, in the order of the dropped table; both are sorted by question_id."""
    ids = rows["question_id"]
    start = ids.search_sorted(str(matches["question_id"].min()), side="left")
    end = ids.search_sorted(str(matches["question_id"].max()), side="right")
    return (
        rows[start:end]
        .select("question", *ORDER)
        .join(matches, on=["question_id", "question"], how="inner")
        .with_columns(stage=pl.lit(STAGE))
        .select(*EVIDENCE)
        .sort(*ORDER, "benchmark", "benchmark_question_id", "method")
    )
