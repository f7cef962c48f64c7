"""From documents to questions: what a model is asked at each step, and how its answers are read.

``write`` writes or extracts a question from a document, ``refine`` fixes one, ``check`` says whether it can be answered
and is of the domain. ``rephrase``, ``self_verify`` and ``backward`` make new questions of one whose answer is known, in
the way of MetaMath (arXiv 2309.12284). "No question" is an answer at every step but check.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.hashing import question_ids
from openthoughts.base.tables import DROPPED, QUESTIONS, Schema, read_table
from openthoughts.inference.read_back import completion_rows, matched
from openthoughts.inference.request_source import shard_questions
from openthoughts.inference.structured import Form, ResponseSchema, Unreadable, failure, read_answer
from openthoughts.sources.text import valid_text

AUGMENTATIONS = frozenset({"rephrase", "self_verify", "backward"})
"""Steps that make a further question of one; asked side by side, each gives rows of its own."""

SAME_ANSWER = frozenset({"refine", "check", "rephrase"})
"""Steps after which the reference answer still answers the question."""

WRITTEN_DROPPED: Schema = {**DROPPED, "rationale": pl.String}
"""``reason``: no question, not answerable, not of the domain, or why no answer could be read."""


class Written(Form):
    """A question, or null where there is none to be had."""

    reasoning: str = ""
    question: str | None


class Verdict(Form):
    """Whether a question is worth keeping."""

    reasoning: str = ""
    answerable: bool
    of_domain: bool


@dataclass(frozen=True)
class Outcome:
    """What a step makes of a text: a question, or the reason why there is none."""

    question: str | None
    reason: str | None = None
    rationale: str | None = None


def step_schema(step: str) -> ResponseSchema:
    """The structured output that a step asks for."""
    return ResponseSchema.of(Verdict if step == "check" else Written, step)


def read_step(step: str, text: str, completion: dict[str, Any]) -> Outcome:
    """What the answer (a row of ``COMPLETIONS``) to a step says about ``text``."""
    failed = failure(completion)
    if failed is not None:
        return Outcome(None, failed)
    if completion["finish_reason"] == "length":
        return Outcome(None, "unparseable: the answer was cut off")
    form: type[Verdict | Written] = Verdict if step == "check" else Written
    answer = read_answer(form, completion["text"])
    if isinstance(answer, Unreadable):
        return Outcome(None, f"unparseable: {answer.reason}")
    if isinstance(answer, Verdict):
        wrong = "not answerable" if not answer.answerable else None if answer.of_domain else "not of the domain"
        return Outcome(None if wrong else text, wrong, answer.reasoning)
    question = valid_text(answer.question or "").strip()
    return Outcome(question or None, None if question else "no question", answer.reasoning)


def shard_texts(paths: Iterable[Path], shard: int, shards: int, domain: str) -> pl.DataFrame:
    """The distinct texts of one shard of several tables, as ``request_source.prompted`` takes them.

    The domain joins their metadata, so that a prompt may name it.
    """
    tables = [shard_questions(path, shard, shards) for path in paths]
    texts = pl.concat(tables).unique("question_id", keep="first", maintain_order=True).sort("question_id")
    metadata = [json.dumps({**json.loads(known), "domain": domain}, ensure_ascii=False) for known in texts["metadata"]]
    return texts.with_columns(pl.Series("metadata", metadata, dtype=pl.String))


def read_outcomes(step: str, texts: pl.DataFrame, completions: Sequence[Path]) -> pl.DataFrame:
    """One row per distinct text: question_id, written, reason, rationale. Raises ``UserError`` for a missing answer."""
    known = dict(texts.select("question_id", "question").iter_rows())
    outcomes = {
        row["question_id"]: read_step(step, known[row["question_id"]], row)
        for row in completion_rows(completions)
        if row["question_id"] in known
    }
    rows = [(key, one.question, one.reason, one.rationale) for key, one in outcomes.items()]
    schema = dict.fromkeys(("question_id", "written", "reason", "rationale"), pl.String)
    found = pl.DataFrame(rows, schema=schema, orient="row")
    wanted = pl.DataFrame({"question_id": list(known)}, schema={"question_id": pl.String})
    return matched(wanted, found, "texts have no answer: run write_questions for them.")


def written_questions(
    step: str, tables: Sequence[Path], completions: Sequence[Path]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The questions that a step makes of the rows of ``tables``, in their order, and the rows it drops.

    A question keeps its row's key (with ``/STEP`` behind it where the step makes further questions), and the id of the
    text it was first made from as ``document`` in its metadata.
    """
    texts = pl.concat([read_table(path, QUESTIONS) for path in tables])
    joined = texts.join(read_outcomes(step, texts, completions), on="question_id", how="left", maintain_order="left")
    kept = joined.filter(pl.col("written").is_not_null())
    dropped = joined.filter(pl.col("written").is_null()).with_columns(pl.lit("written").alias("stage"))
    if step != "check":
        kept = kept.with_columns(
            question_ids(kept["written"]),
            pl.col("written").alias("question"),
            pl.Series("metadata", list(map(_with_document, kept["metadata"], kept["question_id"])), dtype=pl.String),
        )
    if step in AUGMENTATIONS:
        kept = kept.with_columns(pl.col("source_row") + f"/{step}")
    if step not in SAME_ANSWER:
        kept = kept.with_columns(pl.lit(None, dtype=pl.String).alias("reference_answer"))
    return kept.select(list(QUESTIONS)), dropped.select(list(WRITTEN_DROPPED))


def _with_document(metadata: str, question: str) -> str:
    return json.dumps({"document": question, **json.loads(metadata)}, ensure_ascii=False)
