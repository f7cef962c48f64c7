"""What a stage is expected to give: rows, tokens and gigabytes, from the catalog and the constants below."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openthoughts.models.architecture import Architecture
from openthoughts.models.model import API
from openthoughts.training.checkpoints import KEPT

if TYPE_CHECKING:
    from openthoughts.plan.stages import Stage

QUESTION_TOKENS = 150
"""Tokens of a question as it is asked, where the catalog does not say."""

CHARACTERS_PER_TOKEN = 4
"""Of a prompt in English."""

EVALUATION_TOKENS = 10_000
"""Tokens of an answer to a benchmark question by a reasoning model, where the catalog has no length for it."""

TOKENIZED_BYTES = 16
"""Bytes a token of packed training data takes (measured; 9 where rows are not packed)."""

CHECKPOINT_BYTES = 16
"""Bytes a parameter takes in a checkpoint of mixed-precision AdamW."""


def expected_rows(stage: Stage) -> int | None:
    """Question rows that a stage of questions is expected to give; null where the catalog does not say.

    A stage that keeps a number or a fraction of its questions says so in its setting ``keep`` or ``count``, one that
    repeats them up to that number in ``fill``, one that takes at most so many of each input in ``most``, and one that
    looks at a share of a source in ``share`` and ``least``.
    """
    if "questions" not in stage.inputs:
        rows = stage.execution.get("rows")
        return None if rows is None else int(rows)
    limit = stage.settings.get("keep", stage.settings.get("count"))
    if stage.settings.get("fill"):
        return int(limit)
    inputs = [expected_rows(each) for each in stage.inputs["questions"]]
    known = [rows for rows in inputs if rows is not None]
    before = sum(known) if len(known) == len(inputs) else None
    if "share" in stage.settings and before is not None:
        return min(before, int(max(stage.settings["least"], math.ceil(stage.settings["share"] * before))))
    if limit is not None and limit < 1:
        return None if before is None else math.ceil(limit * before)
    return min((rows for rows in (limit, before) if rows is not None), default=None)


def sources_without_rows(stage: Stage, rows: int | None = None) -> Iterator[str]:
    """Names of the sources and benchmarks below a stage of questions whose rows the catalog does not say.

    None where the ``rows`` of the stage are known all the same, as of a draw.
    """
    if rows is not None:
        return
    if "questions" not in stage.inputs and stage.execution.get("rows") is None:
        yield stage.settings["name"]
    for each in stage.inputs.get("questions", ()):
        yield from sources_without_rows(each)


def question_tokens(tables: Sequence[Stage]) -> float | None:
    """Expected tokens of a question of some tables, by their rows; null where the catalog does not say it of all."""
    weighed = [(_question_tokens(table), expected_rows(table) or 1) for table in tables]
    known = [(tokens, rows) for tokens, rows in weighed if tokens is not None]
    if len(known) < len(weighed) or not known:
        return None
    return sum(tokens * rows for tokens, rows in known) / sum(rows for _, rows in known)


def _question_tokens(table: Stage) -> float | None:
    given: float | None = table.execution.get("question_tokens")
    return given or question_tokens(table.inputs.get("questions", ()))


def length_of(model: Stage) -> str:
    """How it is said that the length of a model's answers is not known."""
    return f"answer length of {model.settings.get('name', model.id)}"


def served_entry(model: Stage) -> Mapping[str, Any]:
    """The catalog's entry of a model; a student is served like the model it was trained from."""
    return model.input("model").execution if "model" in model.inputs else model.execution


def answer_tokens(stage: Stage) -> float | None:
    """Expected tokens of one of a stage's answers: the catalog's, bounded by what may be sampled."""
    expected = served_entry(stage.input("model")).get("serving", {}).get("tokens_per_answer")
    longest = stage.settings["sampling"]["max_tokens"]
    return None if expected is None else min(expected, longest)


@dataclass
class Tokens:
    """Tokens of a dataset or of a training, as far as they are known."""

    expected: float = 0.0
    """Those that are known of; where something is missing, at least so many."""
    most: float = 0.0
    """At most so many, where the number of rows is known."""
    missing: set[str] = field(default_factory=set)
    """What is missing to know all of them, each as a phrase."""

    def times(self, factor: float, most: float = math.inf) -> Tokens:
        """So many times the tokens, at most ``most``."""
        return Tokens(min(most, factor * self.expected), min(most, factor * self.most), self.missing)


Length = Callable[["Stage"], "float | None"]
"""Tokens of one of the answers of a stage; null where they are not known."""


def dataset_tokens(dataset: Stage, cutoff: int, length_of_answers: Length = answer_tokens) -> Tokens:
    """Expected tokens of a dataset, each row cut at ``cutoff``."""
    tokens = Tokens()
    for filtered in dataset.inputs["answers"]:
        answers = filtered.input("answers")
        asked = question_tokens(answers.inputs["questions"]) or QUESTION_TOKENS
        rows = expected_rows(answers.input("questions"))
        tokens.missing |= {f"rows of {name}" for name in sources_without_rows(answers.input("questions"), rows)}
        kept = min((rows or 0) * answers.settings["samples"], filtered.settings["options"].get("keep") or math.inf)
        length = length_of_answers(answers)
        if length is None:
            tokens.missing.add(length_of(answers.input("model")))
        tokens.expected += kept * min(cutoff, asked + (length or 0.0))
        longest = answers.settings["sampling"]["max_tokens"] if length is None else length
        tokens.most += kept * min(cutoff, asked + longest)
    return tokens


def trained_tokens(student: Stage, length_of_answers: Length = answer_tokens) -> Tokens:
    """Tokens that a training goes through."""
    scale = student.settings["settings"]
    tokens = dataset_tokens(student.input("tokenized").input("dataset"), scale["cutoff"], length_of_answers)
    if scale.get("epochs") is not None:
        return tokens.times(scale["epochs"])
    if scale.get("max_steps") is not None:
        return tokens.times(1, scale["max_steps"] * scale["global_batch"] * scale["cutoff"])
    return tokens


def classifier_gigabytes(stage: Stage, _: Length = answer_tokens) -> float:
    """Disk of a fastText classifier: its vectors."""
    parameters = stage.settings["parameters"]
    return float(4 * parameters["bucket"] * parameters["dim"] / 1e9)


def model_gigabytes(stage: Stage, _: Length = answer_tokens) -> float | None:
    """Disk of a model's weights, nothing for a hosted one; null where its parameters are not known."""
    return 0.0 if stage.execution.get("kind") == API else _weights_gigabytes(stage.execution)


def tokenized_gigabytes(stage: Stage, length_of_answers: Length = answer_tokens) -> float:
    """Disk of tokenised training data."""
    tokens = dataset_tokens(stage.input("dataset"), stage.settings["cutoff"], length_of_answers)
    return tokens.expected * TOKENIZED_BYTES / 1e9


def training_gigabytes(stage: Stage, _: Length = answer_tokens) -> float | None:
    """Disk of a student's weights; null where its parameters are not known."""
    return _weights_gigabytes(stage.input("model").execution)


def checkpoint_gigabytes(stage: Stage) -> float:
    """Disk of the checkpoints of a training, which go when it is over, as far as it is known."""
    return KEPT * CHECKPOINT_BYTES * (_parameters(stage.input("model").execution) or 0.0) / 1e9


def _weights_gigabytes(entry: Mapping[str, Any]) -> float | None:
    parameters, size = _parameters(entry), 4 if entry.get("dtype") == "float32" else 2
    return None if parameters is None else size * parameters / 1e9


def _parameters(entry: Mapping[str, Any]) -> float | None:
    """Parameters of a model, as its entry gives them or by its architecture."""
    if entry.get("parameters") is not None or entry.get("architecture") is None:
        given: float | None = entry.get("parameters")
        return given
    return float(Architecture.model_validate(entry["architecture"]).parameters())
