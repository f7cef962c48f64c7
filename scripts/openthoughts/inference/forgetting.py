"""Forgetting answers, so that they are asked for again: the only way an answer ever leaves the store.

A forgotten answer's row stays without its text and under another key, because what it cost is spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.reasoning import is_empty_answer
from openthoughts.inference.completions import in_one_form
from openthoughts.store.leases import is_present
from openthoughts.store.rows import FORGOTTEN, first_of_key, rank
from openthoughts.store.store import COMMIT_RETRIES, Store, writer_properties

COLUMNS = ("model_id", "bucket", "model", "key", "question_id", "sample", "error", "usd", "request")


@dataclass(frozen=True)
class Choice:
    """Which answers: those that meet every condition that is given."""

    model: str | None = None
    """Name of the model, or of its folder in the store."""
    questions: Sequence[str] = ()
    """Question ids."""
    since: datetime | None = None
    until: datetime | None = None
    """When they were answered."""
    error: str | None = None
    """Failures whose reason holds this regular expression."""
    empty: bool = False
    """Answers that the funnel calls empty, and failures for that reason."""

    def __post_init__(self) -> None:
        """Raises ``UserError`` where no condition is given, or the expression is none."""
        if not any((self.model, self.questions, self.since, self.until, self.error is not None, self.empty)):
            raise UserError("say which answers to forget: --model, --question, --since, --until, --error or --empty.")
        try:
            pl.Series([""]).str.contains(self.error or "")
        except pl.exceptions.ComputeError as error:
            raise UserError(f"--error {self.error!r} is no regular expression ({error}).") from error

    def condition(self, model_id: str) -> pl.Expr:
        """The conditions, on the rows of a folder of the store, which may bear several models' names."""
        conditions = [~pl.col("key").str.starts_with(FORGOTTEN)]
        if self.model not in (None, model_id):
            conditions.append(pl.col("model") == self.model)
        if self.questions:
            conditions.append(pl.col("question_id").is_in(list(self.questions)))
        if self.since is not None:
            conditions.append(pl.col("answered_at") >= _microseconds(self.since))
        if self.until is not None:
            conditions.append(pl.col("answered_at") < _microseconds(self.until))
        if self.error is not None:
            conditions.append(pl.col("error").str.contains(self.error).fill_null(False))
        if self.empty:
            conditions.append(pl.col("empty"))
        return pl.all_horizontal(conditions)


def find(store: Store, choice: Choice) -> pl.DataFrame:
    """The answers that a choice means, one row each: the columns of ``COLUMNS``.

    Raises ``UserError`` where the store has no such model.
    """
    models = {names[0] for names in store.models() if choice.model in (None, *names)}
    if not models:
        raise UserError(f"the store has nothing of {choice.model}: `store.py stats` lists its models.")
    found = []
    for model_id in sorted(models):
        rows = store.scan(model_id)
        if rows is not None:
            of_key = _marked(rows, choice.empty).select(
                *("model", "key", "question_id", "sample", "error", "usd", "request", "empty"),
                *(each for each in rank() if each.meta.output_name() != "error"),
            )
            chosen = first_of_key(of_key).filter(choice.condition(model_id))
            partition = {"model_id": pl.lit(model_id), "bucket": pl.col("question_id").str.slice(0, 1)}
            found.append(chosen.with_columns(**partition).select(COLUMNS))
    return pl.concat(found)


def _marked(rows: pl.LazyFrame, wants_empty: bool) -> pl.LazyFrame:
    """The rows with ``empty``: whether they are empty answers, for which every text is read where it is wanted."""
    if not wants_empty:
        return rows.with_columns(empty=pl.lit(False))
    read = rows.drop("response").with_columns(told=pl.col("error"))
    read = read.map_batches(in_one_form, predicate_pushdown=False, projection_pushdown=False, streamable=True)
    empty = is_empty_answer(pl.col("text"), pl.col("finish_reason"), pl.col("error"))
    return read.with_columns(empty=empty).with_columns(error=pl.col("told"))


def forget(store: Store, found: pl.DataFrame) -> int:
    """Forget answers that ``find`` gave, and every repeat of them; how many rows that were.

    Raises ``UserError`` where somebody else uses the store: they might write what they know to be there.
    """
    from deltalake import CommitProperties, DeltaTable

    store.adopt_orphans()
    others = [path.stem for path in store.writer_folder.glob("*.json") if path.stem != store.writer]
    if any(is_present(store.writer_folder, other) for other in others):
        raise UserError(f"{store.folder} is in use: wait until its writers end.")
    table = DeltaTable(store.table_folder)
    rows = 0
    for (model_id, bucket), part in sorted(found.group_by("model_id", "bucket")):
        merger = table.merge(
            source=part.select("key"),
            predicate=f"t.model_id = '{model_id}' and t.bucket = '{bucket}' and t.key = s.key",
            source_alias="s",
            target_alias="t",
            writer_properties=writer_properties(),
            commit_properties=CommitProperties(max_commit_retries=COMMIT_RETRIES),
        )
        emptied = dict.fromkeys(("text", "reasoning", "response"), "null")
        result = merger.when_matched_update({**emptied, "size": "0", "key": f"concat('{FORGOTTEN}', t.key)"}).execute()
        rows += int(result["num_target_rows_updated"])
    store.refresh()
    return rows


def _microseconds(moment: datetime) -> int:
    """Microseconds since 1970, as the store counts; a moment without a time zone is one of this machine's."""
    return round(moment.timestamp() * 1e6)
