"""Drop the questions that a benchmark question gives away.

A question is dropped when, against any benchmark question, its normalised Indel similarity (``rapidfuzz.fuzz.ratio`` on
the raw text) reaches ``--similarity``, or when it shares any run of ``--ngram`` token ids with one. The dropped table
names every match: the benchmark, its question, and the score (similarity in per cent, or length of the longest shared
run in tokens with its text). ``--min-chars`` leaves questions shorter than that out of the similarity test, where short
template phrases are flagged most; it is the one departure from the published rule.

Questions without a text match nothing and are kept. Rows are sorted by question_id, source and source_row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    from openthoughts.models.tokenizers import load_tokenizer
    from openthoughts.questions.decontamination import Rule, decontaminate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True, help="questions to clean")
    parser.add_argument("--benchmarks", type=Path, nargs="*", required=True, help="benchmark questions, or none")
    Rule.add_arguments(parser)
    parser.add_argument("--tokenizer", default="qwen", help="qwen, a Qwen repository's name, or a model.json")
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: one for each processor (same result)")
    parser.add_argument(
        "--engine", choices=("auto", "compiled", "plain"), default="auto", help="same result, other speed"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)
    rule = Rule.of(arguments)
    decontaminate(
        arguments.questions,
        arguments.benchmarks,
        rule,
        load_tokenizer(arguments.tokenizer),
        output=arguments.output,
        dropped=arguments.dropped,
        threads=arguments.threads,
        engine=arguments.engine,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
