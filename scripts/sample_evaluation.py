"""Ask a model all its benchmarks, in one job with one engine.

The output has a row for every (benchmark, question, sample), in this order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import Prompted, add_arguments, read_asking
from openthoughts.inference.prompts import Prompt
from openthoughts.inference.request_source import prompted, shard_questions


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--benchmark",
        nargs=4,
        action="append",
        required=True,
        metavar=("NAME", "QUESTIONS", "PROMPT", "SAMPLES"),
        help="a benchmark, its questions, its prompt's file (- for the bare question) and its answers a question",
    )
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser)
    options = parser.parse_args(argv)
    asking = read_asking(options)
    prompts = [_benchmark(options.seed, *task) for task in sorted(options.benchmark)]
    complete_shard(_all(prompts), asking, options.output, by_benchmark=True)
    return 0


def _benchmark(seed: int, name: str, questions: str, prompt: str, samples: str) -> Callable[[], Iterator[Prompted]]:
    if not samples.isdecimal() or int(samples) < 1:
        raise UserError(f"benchmark {name} asks for {samples} answers a question: name a number from 1.")
    template = Prompt.read(None if prompt == "-" else prompt)
    return prompted(shard_questions(questions, 0, 1), template, int(samples), seed, name)


def _all(prompts: Sequence[Callable[[], Iterator[Prompted]]]) -> Callable[[], Iterable[Prompted]]:
    return lambda: chain.from_iterable(one() for one in prompts)


if __name__ == "__main__":
    sys.exit(main())
