"""What all answers to a question say together: the majority, how far they agree, how many are right, how long they are.

Computed once, whatever the filter, in one pass over the answers that holds a few small columns of each. What is
compared depends on the question: with ``tests`` or an ``entry_point`` in its metadata what programs do in the tests,
with ``choices`` letters, else final answers by mathematical equality. A comparison that is given up is unknown: it
counts neither for nor against the majority.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.streams import Spilled, read_batches
from openthoughts.base.tables import COMPLETIONS, DRAWN, MEASURES, Schema, read_table, write_table
from openthoughts.base.workers import Workers
from openthoughts.grading import Task, grade_all
from openthoughts.grading.extraction import choice_letter, final_answer
from openthoughts.grading.graders.choice import right_letter
from openthoughts.grading.mathematics import equalities, equality_workers, normalized, quick_equality

CPU_SECONDS = 30.0
"""Processor time of a worker for one program (its runs in the sandbox have limits of their own)."""

SPILLED_KINDS = ("code", "reasoning_gym")
"""Kinds of questions whose metadata may be large and is needed for one answer at a time."""

QUESTIONS_AT_ONCE = 64
"""Questions read at a time: the hidden tests of one may take megabytes."""

Group = list[tuple[int, str | None]]
"""The votes of a question: sample and answer (null: none)."""


@dataclass(frozen=True)
class Subject:
    """A question as far as its answers can be compared: how, and with which reference."""

    kind: str
    reference: str | None
    metadata: str
    question: str


@dataclass(frozen=True)
class Classes:
    """The class of each different answer of a question, and the pairs of classes whose equality is undecided."""

    of: Mapping[str, int]
    unknown: frozenset[tuple[int, int]] = field(default_factory=frozenset)


def measure_answers(questions: Path, answers: Path, settings: Mapping[str, Any], output: Path) -> pl.DataFrame:
    """Write and return MEASURES of every answer, in the order of question and sample.

    ``settings``: ``last_number`` (an answer that states none is read by its last number) and ``programs`` (answers to
    questions with tests are run on them, in the sandbox; raises ``UserError`` where there can be none).
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with Spilled(output.parent) as contents:
        subjects = read_subjects(questions, settings["programs"], contents)
        rows = read_answers(answers, subjects, contents, settings["last_number"]).sort("question_id", "sample")
    rows = rows.with_columns(correctness(rows, subjects))
    table = rows.join(elections(rows, subjects), on=["question_id", "sample"], how="left", maintain_order="left")
    rates = pl.col("correct").mean().over("question_id")
    table = table.with_columns(pass_rate=rates).with_columns(
        difficulty_from_answers=1 - pl.coalesce("pass_rate", "agreement")
    )
    write_table(table.select(*MEASURES), output, MEASURES)
    return table.select(*MEASURES)


def read_subjects(questions: Path, programs: bool, contents: Spilled) -> dict[str, Subject]:
    """Question id -> what its answers are compared by. Raises ``UserError`` where programs cannot be run safely.

    Of programs and puzzles, text and metadata (all hidden tests) go to ``contents`` and are left out of the subject.
    """
    names = ("question_id", "source", "source_row", "domain", "reference_answer")
    drawn = read_table(questions, DRAWN, names).with_row_index("row").sort("question_id", "source", "source_row")
    grouped = drawn.group_by("question_id").agg(
        pl.col("reference_answer").drop_nulls().first(), pl.col("domain", "row").first()
    )
    first = {row: (question, reference, domain) for question, reference, domain, row in grouped.iter_rows()}
    subjects = {}
    batches = read_batches(questions, DRAWN, ("metadata", "question"), QUESTIONS_AT_ONCE)
    rows = (row for batch in batches for row in batch.select("metadata", "question").iter_rows())
    for number, (metadata, question) in enumerate(rows):
        if number not in first:
            continue
        question_id, reference, domain = first[number]
        kind = kind_of(json.loads(metadata or "{}"), domain, reference, programs)
        if kind in SPILLED_KINDS:
            contents.write(question_id, json.dumps([metadata, question]))
        subjects[question_id] = Subject(kind, reference, metadata if kind == "choice" else "{}", "")
    if any(subject.kind == "code" for subject in subjects.values()):
        from openthoughts.grading.sandbox.sandbox import unavailable

        if reason := unavailable():
            raise UserError(
                f"programs cannot be run safely here ({reason.rstrip('.')}): set `measure.programs: false`."
            )
    return subjects


def whole(question_id: str, subjects: Mapping[str, Subject], contents: Spilled) -> Subject:
    """The subject of a question with what ``read_subjects`` left out of it."""
    metadata, question = json.loads(contents[question_id])
    return replace(subjects[question_id], metadata=metadata, question=question)


def kind_of(
    metadata: Mapping[str, Any], domain: str = "math", reference: str | None = None, programs: bool = True
) -> str:
    """How answers to a question are compared: code, choice, reasoning_gym, math, or none.

    Programs without tests and without a reference are not compared.
    """
    if "tests" in metadata or "entry_point" in metadata:
        return "code" if programs else "none"
    if metadata.get("choices"):
        return "choice"
    if {"family", "entry"} <= set(metadata):
        return "reasoning_gym"
    return "none" if domain == "code" and reference is None else "math"


_READ: Schema = {
    "question_id": pl.String,
    "sample": pl.Int64,
    "came": pl.Boolean,
    "answer": pl.String,
    "score": pl.Float64,
    "truncated": pl.Boolean,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
}


def read_answers(path: Path, subjects: Mapping[str, Subject], contents: Spilled, last_number: bool) -> pl.DataFrame:
    """One row per answer: whether it came, what it answers, and its score where that needs its text."""
    parts = [pl.DataFrame(schema=dict(_READ))]
    with ExitStack() as stack:
        programs: Workers | None = None
        for batch in read_batches(path, COMPLETIONS):
            found: list[tuple[str | None, float | None]] = []
            slow: dict[str, list[int]] = {"code": [], "reasoning_gym": []}
            for place, (question, text) in enumerate(batch.select("question_id", "text").iter_rows()):
                if question not in subjects:
                    raise UserError(
                        f"{path} answers question {question}, which was not drawn: run merge_answers again."
                    )
                kind = subjects[question].kind
                if text is not None and kind in slow:
                    slow[kind].append(place)
                found.append((_stated(text, subjects[question], last_number), None))
            keys = batch["question_id"].to_list()
            texts = batch["text"]
            if slow["code"]:
                programs = programs or stack.enter_context(Workers(run_program, cpu_seconds=CPU_SECONDS))
                tasks = ((texts[place], whole(keys[place], subjects, contents)) for place in slow["code"])
                for place, outcome in zip(slow["code"], programs.map(tasks), strict=True):
                    found[place] = outcome.value or (None, None)
            if slow["reasoning_gym"]:
                puzzles = ((texts[place], whole(keys[place], subjects, contents)) for place in slow["reasoning_gym"])
                graded = grade_all(map(_puzzle, puzzles), ["reasoning_gym"])
                for place, grade in zip(slow["reasoning_gym"], graded, strict=True):
                    found[place] = (grade.answer, grade.score)
            parts.append(
                batch.select(
                    "question_id",
                    "sample",
                    pl.col("text").is_not_null().alias("came"),
                    pl.Series("answer", [answer for answer, _ in found], dtype=pl.String),
                    pl.Series("score", [score for _, score in found], dtype=pl.Float64),
                    (pl.col("finish_reason") == "length").fill_null(False).alias("truncated"),
                    "prompt_tokens",
                    "completion_tokens",
                )
            )
    return pl.concat(parts)


def _puzzle(answer: tuple[str, Subject]) -> Task:
    text, subject = answer
    return Task("reasoning_gym", text, subject.reference, subject.metadata, subject.question)


def _stated(text: str | None, subject: Subject, last_number: bool) -> str | None:
    """The final answer of a text in the form in which it is compared; null where there is none."""
    if text is None or subject.kind not in ("math", "choice"):
        return None
    if subject.kind == "choice":
        return choice_letter(text, _choices(subject))
    final = final_answer(text, last_number=last_number)
    return None if final is None else normalized(final) or None


def _choices(subject: Subject) -> list[str]:
    choices = json.loads(subject.metadata)["choices"]
    return [str(choice) for choice in (choices.values() if isinstance(choices, Mapping) else choices)]


def run_program(task: tuple[str, Subject]) -> tuple[str | None, float | None]:
    """What a program does in the tests (a short hash; null where it took too long or there is none) and its score."""
    from openthoughts.grading.code import behaviour, code_of

    text, subject = task
    code = code_of(text)
    if code is None:
        return None, 0.0
    passed, did = behaviour(code, json.loads(subject.metadata), subject.question)
    return None if did is None else did[:16], float(passed)


def correctness(rows: pl.DataFrame, subjects: Mapping[str, Subject]) -> pl.Series:
    """``correct`` of each answer: its score, or its equality with the reference.

    1 or 0 for final answers (0 where none was stated), null where the answer did not come, there is no reference, or
    the comparison was given up.
    """
    decided: dict[tuple[str, str], bool | None] = {}
    scores: list[float | None] = []
    keys = rows.select("question_id", "came", "answer", "score")
    hard = set()
    for question, came, answer, _ in keys.iter_rows():
        subject = subjects[question]
        if came and answer is not None and subject.kind == "math" and subject.reference is not None:
            pair = (subject.reference, answer)
            if pair not in decided:
                decided[pair] = quick_equality(*pair)
                hard |= {pair} if decided[pair] is None else set()
    with equality_workers() as workers:
        wanted = sorted(hard)
        decided |= dict(zip(wanted, equalities(wanted, workers), strict=True))
    for question, came, answer, score in keys.iter_rows():
        subject = subjects[question]
        if not came or subject.kind in ("code", "reasoning_gym"):
            scores.append(score if came else None)
        elif subject.reference is None or subject.kind == "none":
            scores.append(None)
        elif answer is None:
            scores.append(0.0)
        elif subject.kind == "choice":
            scores.append(_right_choice(answer, subject))
        else:
            equal = decided[subject.reference, answer]
            scores.append(None if equal is None else float(equal))
    return pl.Series("correct", scores, dtype=pl.Float64)


def _right_choice(letter: str, subject: Subject) -> float | None:
    assert subject.reference is not None
    try:
        return float(letter == right_letter(subject.reference, _choices(subject)))
    except ValueError:  # the reference is none of the choices
        return None


def elections(rows: pl.DataFrame, subjects: Mapping[str, Subject]) -> pl.DataFrame:
    """The majority of each question and who is in it (columns of MEASURES), one row per answer that came."""
    groups: dict[str, Group] = {}
    came = rows.filter("came").select("question_id", "sample", "answer")
    for question, sample, answer in came.iter_rows():
        groups.setdefault(question, []).append((sample, answer))
    classes = classes_of(groups, subjects)
    names = ("question_id", "sample", "majority_answer", "agreement", "ties", "in_majority")
    elected = (
        (question, *verdict)
        for question, votes in groups.items()
        for verdict in elect(votes, classes[question], shown=subjects[question].kind != "code")
    )
    verdicts = pl.DataFrame(elected, schema={name: MEASURES[name] for name in names}, orient="row")
    shared = verdicts.group_by("question_id").agg(pl.col("majority_answer", "agreement", "ties").first())
    everyone = rows.select("question_id", "sample").join(shared, on="question_id", how="left")
    return everyone.join(
        verdicts.select("question_id", "sample", "in_majority"), on=["question_id", "sample"], how="left"
    )


def classes_of(groups: Mapping[str, Group], subjects: Mapping[str, Subject]) -> dict[str, Classes]:
    """Question -> which of its answers are the same."""
    distinct = {question: _distinct(votes) for question, votes in groups.items()}
    classes = {
        question: Classes({text: place for place, text in enumerate(texts)}) for question, texts in distinct.items()
    }
    compared = [question for question in groups if subjects[question].kind in ("math", "reasoning_gym")]
    equal = equivalence_classes([distinct[question] for question in compared])
    return {**classes, **dict(zip(compared, equal, strict=True))}


def _distinct(votes: Iterable[tuple[int, str | None]]) -> list[str]:
    """The different final answers of a question, the most frequent first, then the earliest."""
    counts: dict[str, int] = {}
    for _, answer in votes:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    return sorted(counts, key=lambda answer: -counts[answer])


def equivalence_classes(groups: Sequence[Sequence[str]]) -> list[Classes]:
    """For each group of different texts, the class of each text: mathematically equal texts share one.

    Each text is compared with the first text of the classes so far; a comparison that is given up leaves them apart,
    as a pair of classes whose equality is undecided. Algebra is asked only where text and plain numbers cannot decide.
    """
    classes: list[dict[str, int]] = [{} for _ in groups]
    unknown: list[set[tuple[int, int]]] = [set() for _ in groups]
    heads: list[list[str]] = [[] for _ in groups]
    queues = [list(group) for group in groups]
    with equality_workers() as workers:
        while any(queues):
            asked = [index for index, queue in enumerate(queues) if queue]
            # One text a group and round: whom it is compared with depends on the rounds before.
            texts = {index: queues[index].pop(0) for index in asked}
            known = {index: [quick_equality(head, texts[index]) for head in heads[index]] for index in asked}
            hard = [(i, c) for i in asked if True not in known[i] for c, equal in enumerate(known[i]) if equal is None]
            answers = equalities(((heads[i][c], texts[i]) for i, c in hard), workers)
            for (index, place), equal in zip(hard, answers, strict=True):
                known[index][place] = equal
            for index in asked:
                text = texts[index]
                if True in known[index]:
                    classes[index][text] = known[index].index(True)
                else:
                    new = len(heads[index])
                    classes[index][text] = new
                    unknown[index] |= {(place, new) for place, equal in enumerate(known[index]) if equal is None}
                    heads[index].append(text)
    return [Classes(of, frozenset(pairs)) for of, pairs in zip(classes, unknown, strict=True)]


Verdict = tuple[int, str | None, float | None, int | None, bool | None]


def elect(votes: Group, classes: Classes, shown: bool = True) -> list[Verdict]:
    """For each vote: sample, majority answer (null unless ``shown``), agreement, ties, whether it is in the majority.

    The majority is the class of most votes, of several the one whose first vote is the earliest. The agreement is its
    share of all answers, those without a final answer too, except those whose equality is undecided.
    """
    counts: dict[int, int] = {}
    for _, answer in votes:
        if answer is not None:
            counts[classes.of[answer]] = counts.get(classes.of[answer], 0) + 1
    if not counts:
        return [(sample, None, None, None, None) for sample, _ in votes]
    most = max(counts.values())
    winner = next(label for label, count in counts.items() if count == most)  # in the order of their first vote
    ties = sum(count == most for count in counts.values())
    doubtful = {label for label in counts if (min(label, winner), max(label, winner)) in classes.unknown}
    agreement = most / (len(votes) - sum(counts[label] for label in doubtful))
    elected = next(answer for _, answer in votes if answer is not None and classes.of[answer] == winner)
    verdicts: list[Verdict] = []
    for sample, answer in votes:
        label = None if answer is None else classes.of[answer]
        inside = None if label is None or label in doubtful else label == winner
        verdicts.append((sample, elected if shown else None, agreement, ties, inside))
    return verdicts
