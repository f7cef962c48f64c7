"""Filters of answers: which answers to a question go into the dataset.

A filter looks at each answer once (``measure``: a few small columns of every answer, computed on bounded batches) and
then decides on these measurements alone (``decide``), so that answers of any number and length are filtered in bounded
memory. To add a filter, write these two functions, enter them in ``FILTERS`` and its options in
``openthoughts.plan.filter_options``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from openthoughts.answers.language import languages
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash
from openthoughts.base.streams import TableWriter, read_batches
from openthoughts.base.tables import (
    ASSESSMENTS,
    COMPLETIONS,
    DRAWN,
    DROPPED,
    MEASURES,
    Schema,
    read_table,
    scan_table,
    write_table,
)
from openthoughts.grading.extraction import final_answer
from openthoughts.grading.mathematics import equalities, equality_workers, normalized, quick_equality
from openthoughts.plan.filter_options import Options, checked_options

Measure = Callable[[pl.DataFrame, Options], pl.DataFrame]
Decide = Callable[[pl.DataFrame, Options], pl.DataFrame]

KEYS = ["question_id", "occurrence", "sample"]
"""What names an answer. ``occurrence`` is the row of the question that the sample belongs to."""


@dataclass(frozen=True)
class AnswerFilter:
    """One way to choose answers.

    ``measure(answers, options)``: the columns KEYS and what ``decide`` needs, of a batch of answers (columns of
    COMPLETIONS, ``occurrence`` and ``reference_answer``; ``text`` is never null).
    ``decide(measurements, options)``: KEYS, ``reason`` (null keeps the answer) and, where the filter ranks, ``place``.
    Both have the options of ``openthoughts.plan.filter_options``, checked.
    ``needs``: ``measured`` or ``assessed``, a table of which each answer has the columns, with the table's name and
    ``_`` before theirs.
    """

    measure: Measure
    decide: Decide
    needs: str | None = None


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
    return answers.select(*KEYS, rank=units[options["unit"]].cast(pl.Int64))


def _smallest(measured: pl.DataFrame, _: Options) -> pl.DataFrame:
    return _ranked(measured.sort("rank", *KEYS, nulls_last=True))


def _largest(measured: pl.DataFrame, _: Options) -> pl.DataFrame:
    descending = [True, *[False] * len(KEYS)]
    return _ranked(measured.sort("rank", *KEYS, descending=descending, nulls_last=True))


def _ranked(ordered: pl.DataFrame) -> pl.DataFrame:
    return ordered.select(*KEYS, reason=pl.lit(None, pl.String), place=pl.int_range(pl.len()))


def keep_first(verdicts: pl.DataFrame, options: Options) -> pl.DataFrame:
    """``verdicts`` of a filter in which, of the answers that passed, only as many are kept as COUNTS asks for.

    The first by ``place`` where there is one, else by the rank of a draw.
    """
    per_question, in_all = options["keep_per_question"], options["keep"]
    if per_question is None and in_all is None:
        return verdicts
    if "place" not in verdicts.columns:
        ranked = verdicts.with_columns(_draw(verdicts, options)["rank"]).sort("rank", *KEYS)
        verdicts = ranked.with_columns(place=pl.int_range(pl.len()))
    ordered = verdicts.sort("place")
    reason = pl.col("reason")
    if per_question is not None:
        passed = reason.is_null().cast(pl.Int64).cum_sum().over("question_id", "occurrence")
        beyond = reason.is_null() & (passed > per_question)
        said = pl.lit(f"not among the {per_question} of its question")
        ordered = ordered.with_columns(reason=pl.when(beyond).then(said).otherwise(reason))
    if in_all is not None:
        beyond = reason.is_null() & (reason.is_null().cast(pl.Int64).cum_sum() > in_all)
        ordered = ordered.with_columns(
            reason=pl.when(beyond).then(pl.lit(f"not among the {in_all} in all")).otherwise(reason)
        )
    return ordered


def _finish(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    return answers.select(*KEYS, "finish_reason")


def _complete(measured: pl.DataFrame, _: Options) -> pl.DataFrame:
    cut = pl.col("finish_reason") == "length"
    return measured.select(*KEYS, reason=pl.when(cut).then(pl.lit("cut by the token limit")))


def _paragraph(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    paragraphs = pl.col("text").str.replace_all(r"\n[ \t]*\n", "\n\n").str.split("\n\n")
    return answers.select(*KEYS, longest=paragraphs.list.eval(pl.element().str.len_chars()).list.max())


def _short_paragraphs(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    reason = pl.concat_str(pl.lit("a paragraph of "), pl.col("longest"), pl.lit(" characters"))
    return measured.select(*KEYS, reason=pl.when(pl.col("longest") > options["max_characters"]).then(reason))


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
    found = languages(answers["text"].to_list(), options["min_letters"])
    return answers.select(KEYS).with_columns(found=pl.Series(found, dtype=pl.String))


def _one_language(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    other = pl.col("found").is_not_null() & (pl.col("found") != options["language"])
    reason = pl.concat_str(pl.lit("language "), pl.col("found"))
    return measured.select(*KEYS, reason=pl.when(other).then(reason))


def _beside_reference(answers: pl.DataFrame, options: Options) -> pl.DataFrame:
    finals = (final_answer(text, last_number=options["last_number"]) for text in answers["text"])
    texts = [None if final is None else normalized(final) or None for final in finals]
    stated = pl.Series("answer", texts, dtype=pl.String)
    return answers.select(*KEYS, stated, reference=pl.col("reference_answer"))


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


def _elected(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    columns = ("answer", "in_majority", "majority_answer", "agreement", "ties")
    return answers.select(*KEYS, *(pl.col(f"measured_{name}").alias(name) for name in columns))


def _majority(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Keep the answers that agree with the most frequent final answer of their question (all its occurrences)."""
    answer, inside = pl.col("answer"), pl.col("in_majority")
    tie = pl.concat_str(pl.lit("tie of "), pl.col("ties"), pl.lit(" answers"))
    reason = (
        pl.when(answer.is_null())
        .then(pl.lit("no final answer"))
        .when((pl.col("ties") > 1) & pl.lit(options["ties"] == "drop"))
        .then(tie)
        .when(inside.is_null())
        .then(pl.concat_str(pl.lit("not known whether it is the majority answer: "), answer).str.head(200))
        .when(~inside)
        .then(pl.concat_str(pl.lit("not the majority answer: "), answer).str.head(200))
        .when(pl.col("agreement") < options["min_agreement"])
        .then(pl.lit(f"agreement below {options['min_agreement']:g}"))
    )
    return measured.select(*KEYS, reason=reason)


def _columns(answers: pl.DataFrame, options: Options) -> pl.DataFrame:
    return answers.select(*KEYS, *(pl.col(f"measured_{name}").alias(name) for name in options["where"]))


def _within(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Keep the answers whose columns have the wanted values, or lie in the wanted ranges."""
    reasons = []
    for name, condition in options["where"].items():
        value = pl.col(name)
        least, most = condition if isinstance(condition, list | tuple) else (condition, condition)
        fits = pl.lit(True) if least is None else value >= least
        fits = fits if most is None else fits & (value <= most)
        missing = pl.lit(f"no {name}") if options["nulls"] == "drop" else pl.lit(None, pl.String)
        found = pl.concat_str(pl.lit(f"{name} "), value.cast(pl.String))
        reasons.append(pl.when(value.is_null()).then(missing).when(~fits).then(found))
    return measured.select(*KEYS, reason=pl.coalesce(reasons))


def _assessed(answers: pl.DataFrame, _: Options) -> pl.DataFrame:
    return answers.select(*KEYS, value=pl.col("assessed_value"), error=pl.col("assessed_error"))


def _unassessed(options: Options) -> pl.Expr:
    """Why an answer is dropped of which the assessment failed; null where it is kept."""
    if options["unlabelled"] == "keep":
        return pl.lit(None, pl.String)
    return pl.concat_str(pl.lit("not assessed: "), pl.col("error").fill_null("no assessment")).str.head(200)


def _likeliest(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Keep the answers that the classifier finds most like the good examples."""
    least = options["at_least"]
    below = pl.concat_str(pl.lit("score "), pl.col("value").round(4).cast(pl.String))
    bar = -1.0 if least is None else least
    reason = pl.when(pl.col("value").is_null()).then(_unassessed(options)).when(pl.col("value") < bar).then(below)
    ordered = measured.sort("value", *KEYS, descending=[True, *[False] * len(KEYS)], nulls_last=True)
    return ordered.select(*KEYS, reason=reason, place=pl.int_range(pl.len()))


def _found_right(measured: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Keep the answers that the model that was asked found right."""
    value = pl.col("value")
    reason = pl.when(value.is_null()).then(_unassessed(options)).when(value < 1).then(pl.lit("found wrong"))
    return measured.select(*KEYS, reason=reason)


FILTERS: Mapping[str, AnswerFilter] = {
    "none": AnswerFilter(_keys, _keep_all),
    "random": AnswerFilter(_draw, _smallest),
    "shortest": AnswerFilter(_length, _smallest),
    "longest": AnswerFilter(_length, _largest),
    "majority": AnswerFilter(_elected, _majority, needs="measured"),
    "reference": AnswerFilter(_beside_reference, _verified),
    "complete": AnswerFilter(_finish, _complete),
    "language": AnswerFilter(_language, _one_language),
    "short_paragraphs": AnswerFilter(_paragraph, _short_paragraphs),
    "python": AnswerFilter(_languages, _python),
    "columns": AnswerFilter(_columns, _within, needs="measured"),
    "fasttext": AnswerFilter(_assessed, _likeliest, needs="assessed"),
    "llm_verification": AnswerFilter(_assessed, _found_right, needs="assessed"),
}
"""Every answer filter by its name in the configuration."""

FILTERED: Schema = {**COMPLETIONS, "occurrence": pl.Int64}
"""Filtered answers: completions with a text, each with the row of its question."""


def filter_answers(
    questions: Path,
    answers: Path,
    name: str,
    options: Options,
    output: Path,
    dropped: Path,
    evidence: Mapping[str, Path] | None = None,
) -> tuple[int, int]:
    """Keep the answers that filter ``name`` chooses; returns how many were kept and dropped.

    ``questions`` is a DRAWN table, ``answers`` the COMPLETIONS of the same number of samples for each of its rows,
    ``evidence`` the tables ``measured`` (MEASURES) and ``assessed`` (ASSESSMENTS) for the filters that need one.
    Failed completions are always dropped. Output (FILTERED) in the order of question id and sample; ``dropped`` is
    DROPPED with ``sample``.
    """
    options = checked_options(name, options)
    chosen = FILTERS[name]
    beside = _evidence(name, chosen.needs, evidence or {})
    drawn = read_table(questions, DRAWN, ("question_id", "occurrence", "source", "source_row", "reference_answer"))
    samples = samples_per_row(drawn.height, scan_table(answers, COMPLETIONS).select(pl.len()).collect().item(), answers)
    measured = [
        chosen.measure(_beside(batch.filter(pl.col("text").is_not_null()), beside), options)
        for batch in _answers(answers, drawn, samples)
    ]
    if not measured:
        return _write_nothing(output, dropped)
    verdicts = keep_first(chosen.decide(pl.concat(measured), options), options)
    verdicts = verdicts.select("question_id", "sample", "reason")
    lost = []
    with TableWriter(output, FILTERED) as writer:
        for batch in _answers(answers, drawn, samples):
            assessed = batch.join(verdicts, on=["question_id", "sample"], how="left", maintain_order="left")
            failed = pl.col("text").is_null()
            reason = pl.concat_str(pl.lit("failed: "), pl.col("error").fill_null("no text"))
            assessed = assessed.with_columns(reason=pl.when(failed).then(reason).otherwise(pl.col("reason")))
            writer.write(assessed.filter(pl.col("reason").is_null()))
            lost.append(assessed.filter(pl.col("reason").is_not_null()).select(_DROPPED_COLUMNS))
        written = writer.rows
    gone = pl.concat(lost)
    write_table(gone, dropped, DROPPED)
    for reason, count in gone["reason"].str.replace(r":.*", "").value_counts(sort=True).iter_rows():
        logging.info("dropped %d: %s", count, reason)
    return written, gone.height


def _evidence(name: str, needs: str | None, evidence: Mapping[str, Path]) -> pl.DataFrame | None:
    """The table that a filter needs, its columns named after it; raises ``UserError`` where it is not given."""
    if needs is None:
        return None
    if evidence.get(needs) is None:
        raise UserError(f"the answer filter {name!r} needs --{needs}: give the table of that stage.")
    table = read_table(evidence[needs], {"measured": MEASURES, "assessed": ASSESSMENTS}[needs])
    if needs == "measured":
        table = table.with_columns(pl.col("answer").str.head(200))
    return table.rename({column: f"{needs}_{column}" for column in table.columns if column not in KEYS})


def _beside(batch: pl.DataFrame, table: pl.DataFrame | None) -> pl.DataFrame:
    """A batch of answers with the columns of ``table``."""
    if table is None:
        return batch
    return batch.join(table, on=["question_id", "sample"], how="left", maintain_order="left")


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


_DROPPED_COLUMNS = [
    *[pl.col(name) for name in ("question_id", "source", "source_row")],
    pl.lit("filter_answers").alias("stage"),
    *[pl.col(name) for name in ("reason", "sample")],
]


def _write_nothing(output: Path, dropped: Path) -> tuple[int, int]:
    with TableWriter(output, FILTERED):
        pass
    write_table(pl.DataFrame(schema={**DROPPED, "sample": pl.Int64}), dropped, DROPPED)
    return 0, 0
