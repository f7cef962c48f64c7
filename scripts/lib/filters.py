"""Filters of answers: which answers to a question go into the dataset.

A filter looks at each answer once (``measure``: a few small columns of every answer, computed on bounded batches) and
then decides on these measurements alone (``decide``), so that answers of any number and length are filtered in bounded
memory. To add a filter, write these two functions and enter them in ``FILTERS``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from lib.cli import UserError
from lib.extraction import final_answer
from lib.grading.mathematics import equalities, equality_workers, normalized, quick_equality
from lib.hashing import keyed_hash
from lib.language import language
from lib.streams import TableWriter, read_batches
from lib.tables import COMPLETIONS, DRAWN, DROPPED, Schema, read_table, scan_table, write_table

Options = Mapping[str, Any]
Measure = Callable[[pl.DataFrame, Options], pl.DataFrame]
Decide = Callable[[pl.DataFrame, Options], pl.DataFrame]

KEYS = ["question_id", "occurrence", "sample"]
"""What names an answer. ``occurrence`` is the row of the question that the sample belongs to."""


@dataclass(frozen=True)
class AnswerFilter:
    """One way to choose answers.

    ``measure(answers, options)``: the columns KEYS and what ``decide`` needs, of a batch of answers (columns of
    COMPLETIONS, ``occurrence`` and ``reference_answer``; ``text`` is never null).
    ``decide(measurements, options)``: KEYS, ``reason`` (null keeps the answer) and the ``columns`` it adds.
    ``options``: the names of the options it understands, with their defaults.
    """

    measure: Measure
    decide: Decide
    options: Options = field(default_factory=dict)
    columns: Mapping[str, type[pl.DataType]] = field(default_factory=dict)


def checked_options(name: str, options: Options) -> dict[str, Any]:
    """The options of filter ``name`` with its defaults; raises ``UserError`` for an unknown filter or option."""
    if name not in FILTERS:
        raise UserError(f"there is no answer filter {name!r}: use one of {', '.join(sorted(FILTERS))}.")
    known = FILTERS[name].options
    unknown = sorted(set(options) - set(known))
    if unknown:
        wanted = f"use {', '.join(sorted(known))}" if known else "it has none"
        raise UserError(f"the answer filter {name!r} has no option {unknown[0]!r}: {wanted}.")
    return {**known, **options}


def _keys(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    return answers.select(KEYS)


def _keep_all(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    return answers.select(KEYS).with_columns(reason=pl.lit(None, pl.String))


def _draw(answers: pl.DataFrame, options: Options) -> pl.DataFrame:
    seed = options["seed"]
    ranks = [keyed_hash(seed, question, sample, "answer") for question, _, sample in answers.select(KEYS).iter_rows()]
    return answers.select(KEYS).with_columns(rank=pl.Series(ranks, dtype=pl.UInt64))


def _length(answers: pl.DataFrame, options: Options) -> pl.DataFrame:
    units = {"tokens": pl.col("completion_tokens"), "characters": pl.col("text").str.len_chars()}
    if options["unit"] not in units:
        raise UserError(f"the unit {options['unit']!r} of a length is unknown: use tokens or characters.")
    return answers.select(*KEYS, rank=units[options["unit"]].cast(pl.Int64))


def _smallest(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    return _keep_first(measured.sort("rank", *KEYS, nulls_last=True), options)


def _largest(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    descending = [True, *[False] * len(KEYS)]
    return _keep_first(measured.sort("rank", *KEYS, descending=descending, nulls_last=True), options)


def _whole_number(name: str, options: Options) -> int:
    """The option ``name``, a whole number from 1; raises ``UserError`` for anything else."""
    value = options[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"the option {name} is {value!r}: give a whole number from 1.")
    return value


def _keep_first(ordered: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Keep ``keep_per_question`` answers of each drawn question, then ``keep`` in all, in the order given."""
    per_question, in_all = (
        None if options[name] is None else _whole_number(name, options) for name in ("keep_per_question", "keep")
    )
    if per_question is None and in_all is None:
        raise UserError("this answer filter needs the option keep (in all) or keep_per_question.")
    within = pl.int_range(pl.len()).over("question_id", "occurrence")
    ranked = ordered.with_columns(reason=pl.lit(None, pl.String), within=within)
    if per_question is not None:
        beyond = pl.col("within") >= per_question
        ranked = ranked.with_columns(
            reason=pl.when(beyond).then(pl.lit(f"not among the {per_question} of its question"))
        )
    if in_all is not None:
        left = pl.col("reason").is_null()
        beyond = left & (left.cast(pl.Int64).cum_sum() > in_all)
        reason = pl.when(beyond).then(pl.lit(f"not among the {in_all} in all")).otherwise(pl.col("reason"))
        ranked = ranked.with_columns(reason=reason)
    return ranked.select(*KEYS, "reason")


def _finish(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    return answers.select(*KEYS, "finish_reason")


def _complete(measured: pl.DataFrame, _: Options) -> pl.DataFrame:
    cut = pl.col("finish_reason") == "length"
    return measured.select(*KEYS, reason=pl.when(cut).then(pl.lit("cut by the token limit")))


def _paragraph(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    paragraphs = pl.col("text").str.replace_all(r"\n[ \t]*\n", "\n\n").str.split("\n\n")
    return answers.select(*KEYS, longest=paragraphs.list.eval(pl.element().str.len_chars()).list.max())


def _short_paragraphs(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    limit = _whole_number("max_characters", options)
    reason = pl.concat_str(pl.lit("a paragraph of "), pl.col("longest"), pl.lit(" characters"))
    return measured.select(*KEYS, reason=pl.when(pl.col("longest") > limit).then(reason))


def _languages(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    fences = (
        pl.col("text")
        .str.extract_all(r"(?m)^[ \t]*```[ \t]*[A-Za-z0-9+#_-]+")
        .list.eval(pl.element().str.strip_chars(" \t`").str.to_lowercase())
    )
    return answers.select(*KEYS, languages=fences.list.unique().list.sort())


def _python(measured: pl.DataFrame, _: Options) -> pl.DataFrame:
    others = pl.col("languages").list.set_difference(["python", "python3", "py"]).list.sort()
    other = pl.concat_str(pl.lit("code in "), others.list.join(", "))
    none = pl.when(pl.col("languages").list.len() == 0).then(pl.lit("no Python code"))
    return measured.select(*KEYS, reason=pl.when(others.list.len() > 0).then(other).otherwise(none))


def _language(answers: pl.DataFrame, options: Options) -> pl.DataFrame:
    minimum = _whole_number("min_letters", options)
    found = [language(text, minimum) for text in answers["text"]]
    return answers.select(KEYS).with_columns(found=pl.Series(found, dtype=pl.String))


def _one_language(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    other = pl.col("found").is_not_null() & (pl.col("found") != options["language"])
    reason = pl.concat_str(pl.lit("language "), pl.col("found"))
    return measured.select(*KEYS, reason=pl.when(other).then(reason))


def _beside_reference(answers: pl.DataFrame, options: Options) -> pl.DataFrame:
    measured = _final_answers(answers, options)
    return measured.with_columns(reference=answers["reference_answer"])


def _verified(measured: pl.DataFrame, _: Options) -> pl.DataFrame:
    """Keep the answers whose final answer equals the reference answer of their question."""
    pairs = list(measured.select("reference", "answer").iter_rows())
    quick = [None if None in pair else quick_equality(*pair) for pair in pairs]
    hard = sorted({pair for pair, equal in zip(pairs, quick, strict=True) if equal is None and None not in pair})
    with equality_workers() as workers:
        decided = dict(zip(hard, equalities(hard, workers), strict=True))
    reasons = [
        _against_reference(pair[0], pair[1], decided.get(pair) if equal is None else equal)
        for pair, equal in zip(pairs, quick, strict=True)
    ]
    return measured.select(KEYS).with_columns(reason=pl.Series(reasons, dtype=pl.String))


def _against_reference(reference: str | None, answer: str | None, equal: bool | None) -> str | None:
    if reference is None:
        return "no reference answer"
    if answer is None:
        return "no final answer"
    if equal is None:
        return f"not known whether {answer} equals the reference"[:200]
    return None if equal else f"not the reference answer: {answer}"[:200]


def _final_answers(answers: pl.DataFrame, options: Options) -> pl.DataFrame:
    finals = (final_answer(text, last_number=options["last_number"]) for text in answers["text"])
    texts = [None if final is None else normalized(final) or None for final in finals]
    return answers.select(KEYS).with_columns(answer=pl.Series(texts, dtype=pl.String))


def _majority(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Keep the answers that agree with the most frequent final answer of their question (all its occurrences)."""
    if options["ties"] not in ("first", "drop"):
        raise UserError(f"the option ties is {options['ties']!r}: use first or drop.")
    groups: dict[str, list[tuple[int, str | None]]] = {}
    for question, sample, answer in (
        measured.sort("question_id", "sample").select("question_id", "sample", "answer").iter_rows()
    ):
        groups.setdefault(question, []).append((sample, answer))
    clusters = equivalence_classes([_distinct(votes) for votes in groups.values()])
    elected = []
    for (question, votes), classes in zip(groups.items(), clusters, strict=True):
        elected.extend(_election(question, votes, classes, options))
    schema = {
        "question_id": pl.String,
        "sample": pl.Int64,
        "majority_answer": pl.String,
        "agreement": pl.Float64,
        "reason": pl.String,
    }
    verdicts = pl.DataFrame(elected, schema=schema, orient="row")
    return measured.select(KEYS).join(verdicts, on=["question_id", "sample"], how="left")


def _distinct(votes: Iterable[tuple[int, str | None]]) -> list[str]:
    """The different final answers of a question, the most frequent first, then the earliest."""
    counts: dict[str, int] = {}
    for _, answer in votes:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    return sorted(counts, key=lambda answer: -counts[answer])


def equivalence_classes(groups: list[list[str]]) -> list[dict[str, int]]:
    """For each group of different texts, the class of each text: mathematically equal texts share one.

    Each text is compared with the first text of the classes so far; a comparison that is given up leaves them apart.
    Algebra is asked only where text and plain numbers cannot decide.
    """
    classes: list[dict[str, int]] = [{} for _ in groups]
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
                    classes[index][text] = len(heads[index])
                    heads[index].append(text)
    return classes


def _election(
    question: str, votes: list[tuple[int, str | None]], classes: dict[str, int], options: Options
) -> list[tuple[str, int, str | None, float | None, str | None]]:
    """The verdict on each answer of one question: its id, sample, the elected answer, the agreement and the reason."""
    counts: dict[int, int] = {}
    for _, answer in votes:
        if answer is not None:
            counts[classes[answer]] = counts.get(classes[answer], 0) + 1
    if not counts:
        return [(question, sample, None, None, "no final answer") for sample, _ in votes]
    most = max(counts.values())
    agreement = most / len(votes)
    winners = [label for label, count in counts.items() if count == most]  # in the order of their first vote
    tied = len(winners) > 1 and options["ties"] == "drop"
    elected = None if tied else next(a for _, a in votes if a is not None and classes[a] == winners[0])
    verdicts: list[tuple[str, int, str | None, float | None, str | None]] = []
    for sample, answer in votes:
        if answer is None:
            reason: str | None = "no final answer"
        elif tied:
            reason = f"tie of {len(winners)} answers"
        elif classes[answer] != winners[0]:
            reason = f"not the majority answer: {answer}"[:200]
        elif agreement < options["min_agreement"]:
            reason = f"agreement below {options['min_agreement']:g}"
        else:
            reason = None
        verdicts.append((question, sample, elected, agreement, reason))
    return verdicts


_COUNTS: Options = {"keep": None, "keep_per_question": None}

FILTERS: Mapping[str, AnswerFilter] = {
    "none": AnswerFilter(_keys, _keep_all),
    "random": AnswerFilter(_draw, _smallest, {**_COUNTS, "seed": 42}),
    "shortest": AnswerFilter(_length, _smallest, {**_COUNTS, "unit": "tokens"}),
    "longest": AnswerFilter(_length, _largest, {**_COUNTS, "unit": "tokens"}),
    "majority": AnswerFilter(
        _final_answers,
        _majority,
        {"last_number": True, "ties": "first", "min_agreement": 0.0},
        {"majority_answer": pl.String, "agreement": pl.Float64},
    ),
    "reference": AnswerFilter(_beside_reference, _verified, {"last_number": True}),
    "complete": AnswerFilter(_finish, _complete),
    "language": AnswerFilter(_language, _one_language, {"language": "en", "min_letters": 40}),
    "short_paragraphs": AnswerFilter(_paragraph, _short_paragraphs, {"max_characters": None}),
    "python": AnswerFilter(_languages, _python),
}
"""Every answer filter by its name in the configuration."""

FILTERED: Schema = {**COMPLETIONS, "occurrence": pl.Int64}
"""Filtered answers: completions with a text, each with the row of its question; a filter may add columns."""


def filter_answers(
    questions: Path, answers: Path, name: str, options: Options, output: Path, dropped: Path
) -> tuple[int, int]:
    """Keep the answers that filter ``name`` chooses; returns how many were kept and dropped.

    ``questions`` is a DRAWN table, ``answers`` the COMPLETIONS of the same number of samples for each of its rows.
    Failed completions are always dropped. Output (FILTERED and the filter's columns) in the order of question id and
    sample; ``dropped`` is DROPPED with ``sample`` and the filter's columns.
    """
    options = checked_options(name, options)
    chosen = FILTERS[name]
    drawn = read_table(questions, DRAWN).select("question_id", "occurrence", "source", "source_row", "reference_answer")
    samples = samples_per_row(drawn.height, scan_table(answers, COMPLETIONS).select(pl.len()).collect().item(), answers)
    measured = [
        chosen.measure(batch.filter(pl.col("text").is_not_null()), options)
        for batch in _answers(answers, drawn, samples)
    ]
    if not measured:
        return _write_nothing(chosen, output, dropped)
    verdicts = chosen.decide(pl.concat(measured), options).select("question_id", "sample", "reason", *chosen.columns)
    written = 0
    lost = []
    with TableWriter(output, {**FILTERED, **chosen.columns}) as writer:
        for batch in _answers(answers, drawn, samples):
            judged = batch.join(verdicts, on=["question_id", "sample"], how="left", maintain_order="left")
            failed = pl.col("text").is_null()
            reason = pl.concat_str(pl.lit("failed: "), pl.col("error").fill_null("no text"))
            judged = judged.with_columns(reason=pl.when(failed).then(reason).otherwise(pl.col("reason")))
            writer.write(judged.filter(pl.col("reason").is_null()))
            lost.append(judged.filter(pl.col("reason").is_not_null()).select(_dropped_columns(chosen)))
        written = writer.rows
    gone = pl.concat(lost)
    write_table(gone, dropped, DROPPED)
    for reason, count in gone["reason"].str.replace(r":.*", "").value_counts(sort=True).iter_rows():
        logging.info("dropped %d: %s", count, reason)
    return written, gone.height


def samples_per_row(rows: int, answers: int, path: Path) -> int:
    """How many answers each drawn row has; raises ``UserError`` where they do not come out even."""
    if rows == 0 and answers == 0:
        return 1
    if rows == 0 or answers == 0 or answers % rows:
        raise UserError(
            f"{path} has {answers} answers for {rows} drawn questions: run merge_answers on all shards again."
        )
    return answers // rows


def _answers(path: Path, drawn: pl.DataFrame, samples: int) -> Iterator[pl.DataFrame]:
    """Batches of answers in the order of question id and sample, each with its drawn row."""
    keys = scan_table(path, COMPLETIONS).select("question_id", "sample").collect()
    if keys.equals(keys.sort("question_id", "sample")):
        batches = read_batches(path, COMPLETIONS, list(COMPLETIONS))
    else:
        batches = iter([scan_table(path, COMPLETIONS).select(*COMPLETIONS).sort("question_id", "sample").collect()])
    for batch in batches:
        numbered = batch.with_columns(occurrence=pl.col("sample") // samples)
        joined = numbered.join(drawn, on=["question_id", "occurrence"], how="left", maintain_order="left")
        strangers = joined.filter(pl.col("source").is_null())
        if not strangers.is_empty():
            stranger = strangers.row(0, named=True)
            raise UserError(
                f"{path} answers question {stranger['question_id']} (sample {stranger['sample']}), "
                "which was not drawn: run merge_answers again."
            )
        yield joined


def _dropped_columns(chosen: AnswerFilter) -> list[pl.Expr]:
    return [
        *[pl.col(name) for name in ("question_id", "source", "source_row")],
        pl.lit("filter_answers").alias("stage"),
        *[pl.col(name) for name in ("reason", "sample", *chosen.columns)],
    ]


def _write_nothing(chosen: AnswerFilter, output: Path, dropped: Path) -> tuple[int, int]:
    with TableWriter(output, {**FILTERED, **chosen.columns}):
        pass
    write_table(pl.DataFrame(schema={**DROPPED, "sample": pl.Int64, **chosen.columns}), dropped, DROPPED)
    return 0, 0
