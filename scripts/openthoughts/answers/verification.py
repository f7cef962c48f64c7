"""Verdicts of a model on answers: what is asked for, and how a verdict is read.

The prompt may name ``{{ question }}``, ``{{ answer }}`` (what follows the reasoning), ``{{ response }}`` (the whole
answer) and the names of the question's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ConfigDict

from openthoughts.base.hashing import request_seed, shard_expression
from openthoughts.base.reasoning import after_reasoning
from openthoughts.base.tables import COMPLETIONS, scan_table
from openthoughts.inference.job import Prompted
from openthoughts.inference.prompts import Prompt
from openthoughts.inference.request_source import shard_questions
from openthoughts.inference.structured import Form, ResponseSchema, Unreadable, failure, read_completion
from openthoughts.questions.labels import Label

NOTHING = "no answer after the reasoning"
"""Why an answer is not asked about."""


class Verdict(Form):
    """Whether an answer is right."""

    model_config = ConfigDict(strict=True)

    reasoning: str = ""
    correct: bool


def verdict_schema() -> ResponseSchema:
    """The structured output that is asked for."""
    return ResponseSchema.of(Verdict, "llm_verification")


def verdicts_wanted(
    questions: Path, answers: Path, prompt: Prompt, seed: int, shard: int, shards: int
) -> Callable[[], Iterator[Prompted]]:
    """The verdicts wanted on the answers of one shard: on each that came and says something after its reasoning."""
    asked = shard_questions(questions, shard, shards).select("question_id", "question", "metadata")
    table = (
        scan_table(answers, COMPLETIONS)
        .filter(shard_expression(shards) == shard, pl.col("text").is_not_null())
        .select("question_id", "sample", "text")
        .join(asked.lazy(), on="question_id", how="inner")
        .sort("question_id", "sample")
        .collect()
    )

    def wanted() -> Iterator[Prompted]:
        for question_id, sample, text, question, metadata in table.iter_rows():
            answer = answer_of(text)
            if answer is not None:
                values = {**json.loads(metadata or "{}"), "answer": answer, "response": text}
                messages = prompt.messages(question, values)
                yield Prompted(question_id, sample, request_seed(seed, question_id, sample), messages)

    return wanted


def answer_of(text: str) -> str | None:
    """What a response says after its reasoning; null where that is nothing."""
    return (after_reasoning(text) or "").strip() or None


def read_verdict(completion: dict[str, Any]) -> Label:
    """The verdict in one row of completions: 1 (right), 0 (wrong), or null and why it cannot be read."""
    failed = failure(completion)
    if failed is not None:
        return Label(None, None, failed)
    verdict = read_completion(Verdict, completion)
    if isinstance(verdict, Unreadable):
        return Label(None, None, f"unparseable: {verdict.reason}")
    return Label(float(verdict.correct), verdict.reasoning.strip() or None)
