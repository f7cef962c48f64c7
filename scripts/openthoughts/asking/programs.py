"""The programs that ask a model, by their names: what each takes and what it asks for."""

from __future__ import annotations

import importlib
import json
import logging
from argparse import Namespace
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import polars as pl

from openthoughts.answers.verification import verdict_schema, verdicts_wanted
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import request_seed
from openthoughts.base.reasoning import after_reasoning
from openthoughts.base.tables import EVALUATION_COMPLETIONS, LABELS, QUESTIONS, read_table, write_table, write_text
from openthoughts.grading import judge
from openthoughts.inference.job import Asking, Prompted
from openthoughts.inference.program import Program, Wanted, argument
from openthoughts.inference.prompts import Prompt
from openthoughts.inference.request_source import drawn_questions, prompted, shard_questions
from openthoughts.questions.embeddings import direction, embed, labels, texts_wanted
from openthoughts.questions.examples import example_texts
from openthoughts.questions.labelling import answered_methods, needs_prompt, response_schema, unreadable
from openthoughts.questions.selection import wanted as number_wanted
from openthoughts.questions.writing import shard_texts, step_schema
from openthoughts.sources.connectors.written import STEPS

log = logging.getLogger(__name__)


def _write_questions(options: Namespace) -> Wanted:
    texts = shard_texts(options.questions, options.shard, options.shards, options.domain)
    return Wanted(prompted(texts, Prompt.read(options.prompt, may_tell=True), 1, options.seed))


def _label_questions(options: Namespace) -> Wanted:
    if needs_prompt(options.method) and options.prompt is None:
        raise UserError(f"labelling by {options.method} needs a prompt: name one with --prompt (`prompt:` of select).")
    prompt = Prompt.read(options.prompt)

    def attempt(questions: pl.DataFrame, left: int) -> Wanted:
        def again(completions: Path) -> Wanted | None:
            unread = unreadable(completions, options.method) if left > 0 else []
            repeats = pl.col("repeats") + pl.col("question_id").is_in(unread)
            return attempt(questions.with_columns(repeats=repeats), left - 1) if unread else None

        return Wanted(prompted(questions, prompt, 1, options.seed), again=again)

    # The length of an answer is never unreadable.
    return attempt(_shard_of(options), options.attempts - 1 if needs_prompt(options.method) else 0)


def _shard_of(options: Namespace) -> pl.DataFrame:
    return shard_questions(options.questions, options.shard, options.shards)


def _sample_answers(options: Namespace) -> Wanted:
    questions = drawn_questions(options.questions, options.shard, options.shards)
    return Wanted(prompted(questions, Prompt.read(options.prompt), options.samples, options.seed))


def _verify_answers(options: Namespace) -> Wanted:
    prompt = Prompt.read(options.prompt, may_tell=True)
    prompt.require("answer", "response", name=options.prompt)
    shard = (options.seed, options.shard, options.shards)
    return Wanted(verdicts_wanted(options.questions, options.answers, prompt, *shard))


def _sample_evaluation(options: Namespace) -> Wanted:
    parts = []
    for name, questions, prompt, samples in sorted(options.benchmark):
        if not samples.isdecimal() or int(samples) < 1:
            raise UserError(f"benchmark {name} asks for {samples} answers per question: name a number from 1.")
        template = Prompt.read(None if prompt == "-" else prompt)
        parts.append(prompted(shard_questions(questions, 0, 1), template, int(samples), options.seed, name))
    return Wanted(lambda: chain.from_iterable(part() for part in parts), by_benchmark=True)


def _judge_answers(options: Namespace) -> Wanted:
    prompt = Prompt.read(options.prompt, may_tell=True)
    prompt.require("response", name=options.prompt)
    answers = judged_answers(options.questions, options.completions, options.benchmark)

    def wanted() -> Iterator[Prompted]:
        for row in answers.iter_rows(named=True):
            messages = prompt.messages(row["question"], row["metadata"], row["response"])
            seed = request_seed(options.seed, row["question_id"], row["sample"])
            yield Prompted(row["question_id"], row["sample"], seed, messages, options.benchmark)

    return Wanted(wanted, by_benchmark=True)


def judged_answers(questions: Path, completions: Path, benchmark: str) -> pl.DataFrame:
    """question_id, sample, question, metadata and response of every answer that can be judged, in this order.

    The response is what follows the reasoning; where that never ended there is nothing to judge.
    """
    texts = read_table(questions, QUESTIONS).sort("source", "source_row").unique("question_id", keep="first")
    answers = read_table(completions, EVALUATION_COMPLETIONS).filter(
        (pl.col("benchmark") == benchmark) & pl.col("text").is_not_null()
    )
    responses = pl.Series("response", [after_reasoning(text) for text in answers["text"]], dtype=pl.String)
    return (
        answers.select("question_id", "sample")
        .with_columns(responses)
        .filter(pl.col("response").str.contains(r"\S"))
        .join(texts.select("question_id", "question", "metadata"), on="question_id", how="inner")
        .sort("question_id", "sample")
    )


def _write_similarities(options: Namespace, asking: Asking) -> bool:
    towards = json.loads(options.direction.read_text(encoding="utf-8"))["direction"]
    questions = _shard_of(options)
    embedded = embed(questions["question"].to_list(), asking, options.output.parent)
    if embedded is None:
        return False
    table = labels(questions["question_id"].to_list(), embedded, towards)
    write_table(table, options.output, LABELS, embedded.usage.metadata())
    log.info("%s: %d labels", options.output, table.height)
    return True


def _examples(options: Namespace) -> tuple[list[str], list[str]]:
    most = number_wanted(options.most, "--most")
    good, bad = (example_texts(paths, most, options.seed) for paths in (options.positives, options.negatives))
    return good, bad


def _write_direction(options: Namespace, asking: Asking) -> bool:
    good, bad = _examples(options)
    embedded = embed([*good, *bad], asking, options.output.parent)
    if embedded is None:
        return False
    means = direction(*embedded.divided(len(good)))
    found = {"direction": means, "good": len(good), "bad": len(bad), **embedded.usage.to_json()}
    write_text(json.dumps(found) + "\n", options.output)
    log.info("%s: %d good and %d bad examples", options.output, len(good), len(bad))
    return True


_QUESTIONS = argument("--questions", type=Path, required=True, help="table of questions")
_PROMPT = argument("--prompt", type=Path, help="Markdown file; the bare question without")
_PATH = {"type": Path, "required": True}

PROGRAMS: Mapping[str, Program] = {
    "write_questions": Program(
        (
            argument("--questions", nargs="+", help="documents or questions", **_PATH),
            argument("--step", choices=STEPS, required=True),
            argument("--domain", required=True),
            argument("--prompt", help="Markdown file", **_PATH),
        ),
        _write_questions,
        schema=lambda options: step_schema(options.step),
    ),
    "label_questions": Program(
        (
            _QUESTIONS,
            argument("--method", choices=answered_methods(), required=True),
            _PROMPT,
            argument("--attempts", type=int, default=1, help="requests per question until an answer can be read"),
        ),
        _label_questions,
        schema=lambda options: response_schema(options.method),
    ),
    "sample_answers": Program(
        (
            _QUESTIONS,
            _PROMPT,
            argument("--samples", type=int, required=True, help="answers to every row of the drawn questions"),
        ),
        _sample_answers,
    ),
    "verify_answers": Program(
        (
            _QUESTIONS,
            argument("--answers", help="merged completions", **_PATH),
            argument("--prompt", help="Markdown file with {{ question }} and {{ answer }} or {{ response }}", **_PATH),
        ),
        _verify_answers,
        schema=lambda options: verdict_schema(),
    ),
    "sample_evaluation": Program(
        (
            argument(
                "--benchmark",
                nargs=4,
                action="append",
                required=True,
                metavar=("NAME", "QUESTIONS", "PROMPT", "SAMPLES"),
                help="a benchmark, its questions, its prompt (- for the bare question) and its answers per question",
            ),
        ),
        _sample_evaluation,
        sharded=False,
    ),
    "judge_answers": Program(
        (
            argument("--benchmark", required=True, help="name of the benchmark"),
            _QUESTIONS,
            argument("--completions", help="a model's answers", **_PATH),
            argument("--prompt", help="Markdown file with {{ question }} and {{ response }}", **_PATH),
        ),
        _judge_answers,
        sharded=False,
        schema=lambda options: judge.verdict_schema(),
    ),
    "embed_questions": Program(
        (_QUESTIONS, argument("--direction", help="direction.json of the examples", **_PATH)),
        lambda options: Wanted(texts_wanted(_shard_of(options)["question"])),
        write=_write_similarities,
        embeds=True,
    ),
    "embed_examples": Program(
        (
            argument("--positives", nargs="+", help="tables of good examples", **_PATH),
            argument("--negatives", nargs="+", help="tables of bad examples", **_PATH),
            argument("--most", required=True, help="most texts per table, or all"),
            argument("--seed", type=int, required=True, help="seed of the draw of texts"),
        ),
        lambda options: Wanted(texts_wanted(chain(*_examples(options)))),
        sharded=False,
        write=_write_direction,
        embeds=True,
    ),
}
"""By the names of the scripts and of the rules."""


def program(name: str) -> Program:
    """The program of a script: one of ``PROGRAMS``, or what the script declares as its ``PROGRAM``."""
    declared: Program | None = PROGRAMS.get(name)
    return declared or importlib.import_module(name).PROGRAM
