"""What other thresholds of decontamination would have dropped: a table for the report.

One comparison of a sample at the lowest threshold keeps the best score of every question and benchmark; every higher
threshold is counted from it. The sample is the questions of smallest id: ids are hashes, so it is an even one, and it
does not change with the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from openthoughts.base.tables import Schema
from openthoughts.models.tokenizers import Tokenizer
from openthoughts.questions.decontamination import Comparison, Rule
from openthoughts.similarity import Engine

LOWEST = 60
SAMPLE = 50_000
ANY = "any"
BUCKETS: Sequence[tuple[str, int]] = (
    ("0 to 119", 0),
    ("120 to 299", 120),
    ("300 to 999", 300),
    ("1000 and more", 1000),
)
"""Lengths of questions in characters: the name of a bucket and the least length in it."""

SENSITIVITY: Schema = {
    "benchmark": pl.String,  # "any" for all of them together
    "length": pl.String,  # a bucket, or "any"
    "threshold": pl.Int64,
    "questions": pl.Int64,  # in the sample, of this length
    "similarity": pl.Int64,  # dropped by similarity, by themselves or also by an n-gram
    "ngram": pl.Int64,
    "similarity_alone": pl.Int64,
    "ngram_alone": pl.Int64,
    "both": pl.Int64,
    "dropped": pl.Int64,  # by either
}
"""How many questions each threshold would drop."""

_BLOCK = 16_384


def sensitivity(
    texts: pl.DataFrame,
    references: pl.DataFrame,
    rule: Rule,
    tokenizer: Tokenizer,
    *,
    threads: int = 0,
    engine: Engine = "auto",
) -> pl.DataFrame:
    """The table ``SENSITIVITY`` of distinct texts (question_id, question) against benchmark questions."""
    sample = texts.sort("question_id").head(SAMPLE)
    lowest = Rule(min(LOWEST, rule.similarity), rule.ngram, rule.min_chars)
    comparison = Comparison(references, lowest, tokenizer, len(sample), threads=threads, engine=engine)
    blocks = range(0, max(1, len(sample)), _BLOCK)
    best = pl.concat([_best(comparison.matches(sample[start : start + _BLOCK])) for start in blocks])
    lengths = sample.select("question_id", length=_bucket(pl.col("question").str.len_chars()))
    return _table(best, lengths, references["benchmark"].unique().sort().to_list())


def _best(matches: pl.DataFrame) -> pl.DataFrame:
    """Best similarity and whether an n-gram is shared, for every question and benchmark, and for any benchmark."""
    score = pl.col("score").filter(pl.col("reason") == "similarity").max().fill_null(0.0)
    shares = (pl.col("reason") == "ngram").any()
    by_benchmark = matches.group_by("question_id", "benchmark").agg(score=score, ngram=shares)
    overall = matches.group_by("question_id").agg(score=score, ngram=shares)
    return pl.concat([by_benchmark, overall.select("question_id", pl.lit(ANY).alias("benchmark"), "score", "ngram")])


def _bucket(length: pl.Expr) -> pl.Expr:
    bucket = pl.lit(BUCKETS[0][0])
    for name, least in BUCKETS[1:]:
        bucket = pl.when(length >= least).then(pl.lit(name)).otherwise(bucket)
    return bucket


def _table(best: pl.DataFrame, lengths: pl.DataFrame, benchmarks: Sequence[str]) -> pl.DataFrame:
    with_any = pl.concat([lengths, lengths.with_columns(length=pl.lit(ANY))])
    names = [ANY, *(name for name, _ in BUCKETS)]
    questions = with_any.group_by("length").agg(questions=pl.len())
    frame = (
        pl.DataFrame({"benchmark": [ANY, *benchmarks]})
        .join(pl.DataFrame({"length": names}), how="cross")
        .join(pl.DataFrame({"threshold": range(LOWEST, 101)}), how="cross")
        .join(questions, on="length", how="left")
    )
    similar = pl.col("score") >= pl.col("threshold")
    counts = (
        best.join(with_any, on="question_id")
        .join(pl.DataFrame({"threshold": range(LOWEST, 101)}), how="cross")
        .group_by("benchmark", "length", "threshold")
        .agg(
            similarity=similar.sum(),
            ngram=pl.col("ngram").sum(),
            similarity_alone=(similar & ~pl.col("ngram")).sum(),
            ngram_alone=(~similar & pl.col("ngram")).sum(),
            both=(similar & pl.col("ngram")).sum(),
            dropped=(similar | pl.col("ngram")).sum(),
        )
    )
    order = pl.col("length").replace_strict(names, range(len(names)), return_dtype=pl.Int64)
    return (
        frame.join(counts, on=["benchmark", "length", "threshold"], how="left")
        .with_columns(pl.exclude("benchmark", "length", "threshold").fill_null(0))
        .select([pl.col(name).cast(kind) for name, kind in SENSITIVITY.items()])
        .sort(pl.col("benchmark") != ANY, "benchmark", order, "threshold")
    )
