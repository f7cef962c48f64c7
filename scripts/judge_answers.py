"""Ask a judge about each answer that a model gave to a benchmark: does it pass, by the rubric of the prompt?

The prompt has {question} and {response}; the response is what follows the model's reasoning. An answer that never came
to an end of its reasoning, or failed, is not judged: there is nothing to judge.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import command
from openthoughts.base.hashing import request_seed
from openthoughts.base.reasoning import after_reasoning
from openthoughts.base.tables import EVALUATION_COMPLETIONS, QUESTIONS, read_table
from openthoughts.grading.judge import verdict_schema
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import Prompted, add_arguments, read_asking
from openthoughts.inference.prompts import Prompt


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmark", required=True, help="name of the benchmark")
    parser.add_argument("--questions", type=Path, required=True, help="its questions")
    parser.add_argument("--completions", type=Path, required=True, help="a model's answers")
    parser.add_argument("--prompt", type=Path, required=True, help="Markdown file with {question} and {response}")
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser)
    options = parser.parse_args(argv)
    prompt = Prompt.read(options.prompt)
    prompt.require("response", name=options.prompt)
    answers = judged_answers(options.questions, options.completions, options.benchmark)
    asking = read_asking(options, verdict_schema())
    complete_shard(_wanted(answers, prompt, options.seed, options.benchmark), asking, options.output, by_benchmark=True)
    return 0


def judged_answers(questions: Path, completions: Path, benchmark: str) -> pl.DataFrame:
    """question_id, sample, question, metadata and response of every answer that can be judged, in this order."""
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


def _wanted(answers: pl.DataFrame, prompt: Prompt, seed: int, benchmark: str) -> Callable[[], Iterator[Prompted]]:
    def wanted() -> Iterator[Prompted]:
        for row in answers.iter_rows(named=True):
            messages = prompt.messages(row["question"], row["metadata"], row["response"])
            own = request_seed(seed, row["question_id"], row["sample"])
            yield Prompted(row["question_id"], row["sample"], own, messages, benchmark)

    return wanted


if __name__ == "__main__":
    sys.exit(main())
