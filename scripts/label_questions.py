"""Ask a model about every distinct question of one shard: how hard it is, how much it is worth, or for an answer.

One request a question; the raw answers are the output, ``parse_labels`` reads the labels out of them. With
``--attempts`` above 1, an answer that cannot be read is asked for again, as the question's next sample.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError, command
from openthoughts.base.tables import COMPLETIONS, read_table
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import add_arguments, read_asking
from openthoughts.inference.prompts import Prompt
from openthoughts.inference.request_source import prompted, shard_questions
from openthoughts.questions.labels import METHODS, needs_prompt, read_label, response_schema


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--prompt", type=Path, help="Markdown file; the bare question without")
    parser.add_argument("--attempts", type=int, default=1, help="requests a question until an answer can be read")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser)
    options = parser.parse_args(argv)
    if needs_prompt(options.method) and options.prompt is None:
        raise UserError(f"labelling by {options.method} needs a prompt: name one with --prompt (`prompt:` of select).")
    asking = read_asking(options, response_schema(options.method))
    prompt = Prompt.read(options.prompt)
    questions = shard_questions(options.questions, options.shard, options.shards)
    attempts = options.attempts if needs_prompt(options.method) else 1  # the length of an answer is never unreadable
    # Under its name only when no attempt is left: what an earlier one could not read is not the stage's result.
    working = options.output.with_name(f".{options.output.name}.attempts")
    for _ in range(attempts):
        if not complete_shard(prompted(questions, prompt, 1, options.seed), asking, working):
            working.unlink(missing_ok=True)
            return 0
        again = _unreadable(working, options.method)
        if again.is_empty():
            break
        questions = questions.with_columns(repeats=pl.col("repeats") + pl.col("question_id").is_in(again.to_list()))
    working.replace(options.output)
    return 0


def _unreadable(path: Path, method: str) -> pl.Series:
    """Questions of which an answer came, but none that can be read."""
    readable: dict[str, bool] = {}
    for row in read_table(path, COMPLETIONS).iter_rows(named=True):
        ended = row["error"] is not None or read_label(method, row).error is None
        readable[row["question_id"]] = readable.get(row["question_id"], False) or ended
    return pl.Series([question for question, ended in readable.items() if not ended], dtype=pl.String)


if __name__ == "__main__":
    sys.exit(main())
