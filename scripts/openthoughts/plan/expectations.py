"""What a stage is expected to give: rows, tokens and gigabytes, from the catalog and the constants below."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from openthoughts.models.architecture import Architecture
from openthoughts.models.model import API
from openthoughts.sources.entries import fetched_entry
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


class Counts(NamedTuple):
    """Rows of questions, and different questions among them; null where it is not known."""

    rows: int | None
    questions: int | None


def counts_of(entry: Mapping[str, Any]) -> Counts:
    """What a source or benchmark of the catalog has, at most ``limit`` of it.

    Where the entry does not say how many different ``questions`` there are, each row counts as one.
    """
    rows, questions = entry.get("rows"), entry.get("questions")
    limit = fetched_entry(entry).get("limit")
    if limit is not None and (rows is None or limit < rows):
        questions = limit if questions is None else _different(limit, Counts(rows, questions))
        rows = limit
    if rows is not None and entry.get("repeat_to", 0) > rows:
        rows, questions = entry["repeat_to"], rows if questions is None else questions
    return Counts(rows, rows if questions is None else questions)


def _different(rows: int, among: Counts) -> int:
    """Different questions expected in a random choice of ``rows`` among rows that repeat questions.

    Each question is missed by the choice in all of its N/Q rows with a probability of about (1 - n/N) ** (N/Q).
    """
    if not among.rows or not among.questions or rows >= among.rows:
        return rows if not among.questions else min(rows, among.questions)
    missed: float = (1 - rows / among.rows) ** (among.rows / among.questions)
    return round(among.questions * (1 - missed))


def _summed(counts: Iterable[Counts]) -> Counts:
    rows: int | None = 0
    questions: int | None = 0
    for each in counts:
        rows = None if rows is None or each.rows is None else rows + each.rows
        questions = None if questions is None or each.questions is None else questions + each.questions
    return Counts(rows, questions)


def expected(stage: Stage) -> Counts:
    """Question rows, and different questions, that a stage of questions is expected to give.

    A stage that keeps a number or a fraction says so in its setting ``keep`` (of what it has ``counted``, rows or
    questions) or ``count``, one that repeats rows up to that number in ``fill``, one that leaves one row of each
    question in ``level``, and one that looks at a share of the different questions in ``share`` and ``least``.
    """
    if "questions" not in stage.inputs:
        return counts_of(stage.execution)
    before = _summed(map(expected, stage.inputs["questions"]))
    settings = stage.settings
    if settings.get("level", "none") != "none":
        return Counts(before.questions, before.questions)
    if "share" in settings and before.questions:
        return _of_questions(max(settings["least"], math.ceil(settings["share"] * before.questions)), before)
    limit = settings.get("keep", settings.get("count"))
    if limit is None:
        return before
    if settings.get("counted") == "questions":
        return _of_questions(limit, before)
    if limit < 1:
        if before.rows is None:
            return before
        limit = math.ceil(limit * before.rows)
    if before.rows is not None and limit >= before.rows:
        return Counts(int(limit) if settings.get("fill") else before.rows, before.questions)
    if before.rows is None or before.questions is None:
        return Counts(int(limit), int(limit))
    together = settings.get("by", "random") != "random"  # the rows of a question have one label
    share = math.ceil(limit * before.questions / before.rows)
    return Counts(int(limit), share if together else _different(int(limit), before))


def _of_questions(limit: float, before: Counts) -> Counts:
    """Every row of a number or a fraction of the different questions."""
    if before.questions is None or not before.questions:
        return before if limit < 1 else Counts(int(limit), int(limit))
    kept = min(math.ceil(limit * before.questions) if limit < 1 else int(limit), before.questions)
    return Counts(math.ceil(kept * (before.rows or kept) / before.questions), kept)


def expected_rows(stage: Stage) -> int | None:
    """Question rows that a stage of questions is expected to give; null where the catalog does not say."""
    return expected(stage).rows


def expected_questions(stage: Stage) -> int | None:
    """Different questions that a stage of questions is expected to give; null where the catalog does not say."""
    return expected(stage).questions


def sources_without_rows(stage: Stage, rows: int | None = None) -> Iterator[str]:
    """Names of the sources and benchmarks below a stage of questions whose rows the catalog does not say.

    None where the ``rows`` of the stage are known all the same, as of a draw.
    """
    if rows is not None:
        return
    if "questions" not in stage.inputs and counts_of(stage.execution).rows is None:
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


def model_gigabytes(stage: Stage, _: Length = answer_tokens) -> float:
    """Disk of a model's weights as far as it is known, nothing for a hosted one."""
    return 0.0 if stage.execution.get("kind") == API else _weights_gigabytes(stage.execution)


def tokenized_gigabytes(stage: Stage, length_of_answers: Length = answer_tokens) -> float:
    """Disk of tokenised training data."""
    tokens = dataset_tokens(stage.input("dataset"), stage.settings["cutoff"], length_of_answers)
    return tokens.expected * TOKENIZED_BYTES / 1e9


def training_gigabytes(stage: Stage, _: Length = answer_tokens) -> float:
    """Disk of a student's weights, as far as it is known."""
    return _weights_gigabytes(stage.input("model").execution)


def checkpoint_gigabytes(stage: Stage) -> float:
    """Disk of the checkpoints of a training, which go when it is over, as far as it is known."""
    return KEPT * CHECKPOINT_BYTES * (_parameters(stage.input("model").execution) or 0.0) / 1e9


def unknown_weights(stage: Stage, _: Length = answer_tokens) -> set[str]:
    """What is missing to know the disk of a model's or a student's weights."""
    model = stage.input("model") if "model" in stage.inputs else stage
    is_known = model.execution.get("kind") == API or _parameters(model.execution) is not None
    return set() if is_known else {f"parameters of {model.settings['name']}"}


def unknown_rows(stage: Stage, length_of_answers: Length = answer_tokens) -> set[str]:
    """What is missing to know the disk of tokenised training data."""
    return dataset_tokens(stage.input("dataset"), stage.settings["cutoff"], length_of_answers).missing


def _weights_gigabytes(entry: Mapping[str, Any]) -> float:
    size = 4 if entry.get("dtype") == "float32" else 2
    return size * (_parameters(entry) or 0.0) / 1e9


def _parameters(entry: Mapping[str, Any]) -> float | None:
    """Parameters of a model, as its entry gives them or by its architecture."""
    if entry.get("parameters") is not None or entry.get("architecture") is None:
        given: float | None = entry.get("parameters")
        return given
    return float(Architecture.model_validate(entry["architecture"]).parameters())
