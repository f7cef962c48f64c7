"""Labels that are read out of a model's answers. Raw answers stay in the completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.options import did_you_mean
from openthoughts.inference.read_back import completion_rows
from openthoughts.inference.structured import ResponseSchema, failure
from openthoughts.questions.labels import METHODS, Label, LabelMethod


def answered_methods() -> list[str]:
    """The methods whose labels are read out of a model's answers."""
    return [name for name, method in METHODS.items() if method.asks == "answers"]


def _answered(name: str) -> type[LabelMethod]:
    known = answered_methods()
    if name not in known:
        raise UserError(f"there is no labelling method {name!r}{did_you_mean(name, known)}.")
    return METHODS[name]


def response_schema(method: str) -> ResponseSchema | None:
    """The structured output that a method asks for; None where the answer is free text."""
    form = _answered(method).form
    return None if form is None else ResponseSchema.of(form, method)


def needs_prompt(method: str) -> bool:
    """Whether the bare question is no way to ask for the label."""
    return _answered(method).needs_prompt


def read_label(method: str, completion: dict[str, Any], unit: str = "tokens") -> Label:
    """The label in one row of completions (columns of ``COMPLETIONS``); ``unit`` is that of a response's length."""
    failed = failure(completion)
    return Label(None, None, failed) if failed is not None else _answered(method).read(completion, unit)


def unreadable(completions: Path, method: str) -> list[str]:
    """The ids of the questions to which answers came, but none that can be read."""
    ended: dict[str, bool] = {}
    for row in completion_rows([completions]):
        known = ended.get(row["question_id"], False)
        ended[row["question_id"]] = known or row["error"] is not None or read_label(method, row).error is None
    return [question for question, known in ended.items() if not known]
