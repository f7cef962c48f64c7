"""Which questions are kept, and in which order: the best by a label, or the first by a keyed hash.

Order and choice come from the smallest keyed hashes (seed, question, occurrence), never from a shuffle: keeping more
rows, or adding a source, keeps the rows that were kept before. Occurrences number the rows of one question, by source
and source_row, so rows of one question are apart from each other; where different questions are counted, all rows of a
question have the hash of the first, so a question of many rows is as likely as one of a single row.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash
from openthoughts.base.tables import DRAWN, DROPPED, LABELLED, LABELS, QUESTIONS, read_table, scan_table, write_table
from openthoughts.questions.shortfall import taken_before

log = logging.getLogger(__name__)

IDENTITY = ("question_id", "source", "source_row")
ALL = "all"

UNLABELLED = ("drop", "last", "first", "error")
"""What happens to questions whose label failed."""

Counted = Literal["rows", "questions"]
"""What a number to keep counts: rows, or different questions, of which every row is kept."""


def wanted(text: str, option: str) -> int | None:
    """The number of rows an option asks for, None for ``all``. Raises ``UserError`` for anything else."""
    if text == ALL:
        return None
    if not text.isdigit() or int(text) == 0:
        raise UserError(f"{option} {text} must be a whole number above 0, or {ALL}.")
    return int(text)


def wanted_part(text: str, option: str) -> float | None:
    """As ``wanted``, or a fraction below 1 of the rows."""
    if re.fullmatch(r"0?\.\d+", text) and float(text) > 0:
        return float(text)
    return wanted(text, option)


def with_rank(rows: pl.DataFrame, seed: int, salt: str) -> pl.DataFrame:
    """``rows`` (columns of ``IDENTITY``) with ``rank``, the 64-bit keyed hash of each, in the order of ``IDENTITY``."""
    rows = rows.sort(IDENTITY).with_columns(pl.int_range(pl.len()).over("question_id").alias("occurrence"))
    pairs = zip(rows["question_id"], rows["occurrence"], strict=True)
    ranks = pl.Series("rank", (keyed_hash(seed, question, number, salt) for question, number in pairs), pl.UInt64)
    return rows.drop("occurrence").with_columns(ranks)


def _with_first_rank(rows: pl.DataFrame, seed: int, salt: str) -> pl.DataFrame:
    """As ``with_rank``, but every row of a question has the rank of the question's first."""
    questions = rows.select("question_id").unique()
    ranks = pl.Series("rank", (keyed_hash(seed, each, 0, salt) for each in questions["question_id"]), pl.UInt64)
    return rows.join(questions.with_columns(ranks), on="question_id", how="left", nulls_equal=True)


def _identities(table: pl.LazyFrame) -> pl.DataFrame:
    """Row number (``index``) and identity of every row of a table."""
    return table.select(IDENTITY).with_row_index("index").collect()


def _rows_at(table: pl.LazyFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``table`` whose numbers are in ``chosen``'s ``index``, in its order, with its further columns."""
    numbered = chosen.with_row_index("position")
    rows = table.with_row_index("index").join(numbered.lazy(), on="index", how="inner")
    return rows.collect(engine="streaming").sort("position").drop("index", "position")


def _dropped(rows: pl.DataFrame, stage: str, reason: pl.Expr) -> pl.DataFrame:
    """The ``dropped`` table of rows that have the columns of ``IDENTITY``, sorted by them; further columns stay."""
    return rows.with_columns(pl.lit(stage).alias("stage"), reason.alias("reason")).sort(IDENTITY)


def order_by_label(
    rows: pl.DataFrame,
    labels: pl.DataFrame | None,
    seed: int,
    nulls_last: bool = True,
    counted: Counted = "rows",
) -> pl.DataFrame:
    """Identities with ``label`` and ``error``, best first: highest label, ties by keyed hash, unlabelled at an end.

    Where ``questions`` are counted, the rows of a question stand together.
    """
    ranked = (_with_first_rank if counted == "questions" else with_rank)(rows, seed, "select")
    if labels is None:
        ranked = ranked.with_columns(pl.lit(None, pl.Float64).alias("label"), pl.lit(None, pl.String).alias("error"))
    else:
        values = labels.select("question_id", pl.col("value").fill_nan(None).alias("label"), "error")
        ranked = ranked.join(values, on="question_id", how="left")
    return ranked.sort("label", "rank", *IDENTITY, descending=[True] + [False] * 4, nulls_last=nulls_last)


def _number(rows: pl.DataFrame, counted: Counted) -> int:
    """The rows, or the different questions among them."""
    return rows.height if counted == "rows" else rows["question_id"].n_unique()


def _first(ordered: pl.DataFrame, count: int, counted: Counted) -> pl.DataFrame:
    """The first ``count`` rows, or every row of the first ``count`` questions, whose rows stand together."""
    if counted == "rows":
        return ordered.head(count)
    return ordered.filter(pl.col("question_id").rle_id() < count)


def _report_unlabelled(rows: pl.DataFrame, questions: Path, unlabelled: str) -> None:
    without = rows.filter(pl.col("label").is_null()).height
    if without == rows.height:
        raise UserError(f"no question of {questions} has a label: look into the labels' `error`, then label again.")
    if without and unlabelled == "error":
        raise UserError(
            f"{without} of {rows.height} rows of {questions} have no label: look into the labels' `error`, or choose "
            "another `unlabelled` policy."
        )
    if without:
        fate = "are dropped" if unlabelled == "drop" else f"come {unlabelled}"
        log.warning("%d of %d rows have no label and %s", without, rows.height, fate)


def _reason_to_drop(at_least: float | None, unlabelled: str) -> pl.Expr:
    """Why a row with ``label`` is no candidate, whatever the others; null where it is one."""
    label = pl.col("label")
    reason = pl.when(label.is_null() & pl.lit(unlabelled == "drop")).then(pl.lit("no label"))
    return reason if at_least is None else reason.when(label < at_least).then(pl.lit(f"label below {at_least:g}"))


def select(
    questions: Path,
    labels: Path | None,
    by: str,
    keep: float | None,
    seed: int,
    *,
    at_least: float | None = None,
    unlabelled: str = "drop",
    counted: Counted = "rows",
    output: Path,
    dropped: Path,
) -> None:
    """Write the ``keep`` best rows of a questions table, or every row of its ``keep`` best questions, with their label.

    ``counted`` says which of the two. They are best first. ``keep`` below 1 is a fraction of the table's rows or
    different questions (rounded up), None keeps all; ``labels`` has a value for each question (none for a random
    selection), of which rows below ``at_least`` are dropped. ``unlabelled`` (one of ``UNLABELLED``) says what becomes
    of rows without a label. Raises ``UserError`` when there is nothing to select from, or nothing is left.
    """
    table = scan_table(questions, QUESTIONS)
    rows = _identities(table)
    if rows.is_empty():
        raise UserError(f"{questions} has no rows to select from: look into what the stages before it dropped.")
    values = read_table(labels, LABELS) if labels else None
    ordered = order_by_label(rows, values, seed, unlabelled != "first", counted)
    if labels:
        _report_unlabelled(ordered, questions, unlabelled)
        ordered = ordered.with_columns(cause=_reason_to_drop(at_least, unlabelled))
    else:
        ordered = ordered.with_columns(cause=pl.lit(None, pl.String))
    candidates = ordered.filter(pl.col("cause").is_null())
    if candidates.is_empty():
        raise UserError(f"no question of {questions} has a label of at least {at_least:g}: lower `at_least`.")
    count = math.ceil(keep * _number(rows, counted)) if keep is not None and keep < 1 else keep
    if count is not None and count > (there := _number(candidates, counted)):
        log.warning("%d %s are wanted, %d are there: all are kept", count, counted, there)
    kept = _first(candidates, int(count), counted) if count is not None else candidates
    rest = pl.concat([candidates.slice(kept.height), ordered.filter(pl.col("cause").is_not_null())])
    write_table(_rows_at(table, kept.select("index", "label")), output, LABELLED)
    outdone = (
        pl.when(pl.col("label").is_not_null() | pl.lit(labels is None))
        .then(pl.lit(f"not among the {count} kept by {by}"))
        .otherwise(pl.lit("no label"))
    )
    reason = pl.coalesce("cause", outdone)
    table_of_dropped = _dropped(rest.select(*IDENTITY, "label", "error", "cause"), "select_questions", reason)
    table_of_dropped = table_of_dropped.drop("cause")
    write_table(table_of_dropped, dropped, DROPPED)


def mix(questions: Sequence[Path], seed: int, *, output: Path) -> None:
    """Write the rows of several tables of selected questions as one, in an order that the seed and the rows give.

    A row's place depends on itself alone, so another source puts its rows between the others'. Raises ``UserError``
    when a row is there twice.
    """
    table = pl.concat([read_table(path, LABELLED).select(*LABELLED) for path in questions])
    if table.select("source", "source_row").n_unique() < table.height:
        raise UserError("a source is mixed with itself: name each of --questions once.")
    keys = zip(table["question_id"], table["source"], table["source_row"], strict=True)
    ranks = pl.Series(
        "rank", (keyed_hash(seed, key, 0, f"mix\0{source}\0{row}") for key, source, row in keys), pl.UInt64
    )
    mixed = table.with_columns(ranks).sort("rank", *IDENTITY).drop("rank")
    write_table(mixed, output, LABELLED)


def _report_missing(
    count: int, there: int, fill: bool, may_be_short: bool, before: Sequence[tuple[str, Sequence[Path]]]
) -> None:
    missing = f"{count:,} rows are wanted and {there:,} are there, {count - there:,} are missing"
    if fill:
        log.warning("%s: they are repeated", missing)
        return
    taken = taken_before(before)
    if not may_be_short:
        raise UserError(
            f"{missing}. {taken}Keep more (`select.keep`), add a source or lower `draw`; or let questions be repeated "
            "(`fill: true`) or be fewer (`short: allowed`)."
        )
    log.warning("%s: all are drawn. %s", missing, taken)


def draw(
    questions: Path,
    count: int | None,
    seed: int,
    *,
    output: Path,
    dropped: Path,
    fill: bool = False,
    may_be_short: bool = False,
    before: Sequence[tuple[str, Sequence[Path]]] = (),
) -> None:
    """Write the ``count`` rows (all for None) of smallest keyed hash, in that order, with their ``occurrence``.

    Occurrences number the drawn rows of one question from 0, so a larger draw keeps the numbers of a smaller one. With
    ``fill``, where there are fewer rows they are repeated, round after round in the same order, up to ``count``;
    ``~1``, ``~2``, … after a row's ``source_row`` tell the rounds apart. Raises ``UserError`` when there is nothing to
    draw from, and when there are too few, unless the draw ``may_be_short``: it says how many are missing, and which of
    the stages ``before`` (as of ``taken_before``) took them.
    """
    table = scan_table(questions, LABELLED)
    rows = _identities(table)
    if rows.is_empty():
        raise UserError(f"{questions} has no rows to draw from: look into what the stages before it dropped.")
    if count is not None and count > rows.height:
        _report_missing(count, rows.height, fill, may_be_short, before)
    ordered = with_rank(rows, seed, "draw").sort("rank", *IDENTITY)
    rounds = -(-count // rows.height) if fill and count is not None else 1
    repeated = pl.concat([ordered.with_columns(round=pl.lit(number)) for number in range(rounds)])
    drawn = repeated.head(count) if count is not None else repeated
    numbered = drawn.with_columns(pl.int_range(pl.len()).over("question_id").alias("occurrence"))
    chosen = _rows_at(table, numbered.select("index", "occurrence", "round"))
    again = pl.when(pl.col("round") > 0).then(pl.format("~{}", "round")).otherwise(pl.lit(""))
    write_table(chosen.with_columns(pl.col("source_row") + again).drop("round"), output, DRAWN)
    rest = ordered.slice(drawn.height).select(IDENTITY)
    write_table(_dropped(rest, "draw_questions", pl.lit(f"not among the {count} drawn")), dropped, DROPPED)


def limit_length(questions: Path, tokenizer: str, max_tokens: int, *, output: Path, dropped: Path) -> None:
    """Write the rows whose question has at most ``max_tokens`` tokens, in the table's order, reading it in pieces."""
    from openthoughts.base.streams import TableWriter, read_batches
    from openthoughts.models.tokenizers import count_tokens, load_tokenizer

    schema = scan_table(questions, QUESTIONS).collect_schema()
    counter = load_tokenizer(tokenizer)
    evidence = {**DROPPED, "tokens": pl.Int64}
    with TableWriter(output, schema) as kept, TableWriter(dropped, evidence) as left_out:
        for batch in read_batches(questions, QUESTIONS):
            tokens = pl.Series("tokens", count_tokens(counter, batch["question"].to_list()), dtype=pl.Int64)
            batch = batch.with_columns(tokens)
            kept.write(batch.filter(tokens <= max_tokens))
            reason = pl.lit(f"over {max_tokens} tokens")
            left_out.write(
                batch.filter(tokens > max_tokens).with_columns(
                    pl.lit("limit_length").alias("stage"), reason.alias("reason")
                )
            )
    if kept.rows == 0:
        raise UserError(f"no question of {questions} has at most {max_tokens} tokens: raise --max-tokens.")
