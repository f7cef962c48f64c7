"""Report how many questions each similarity threshold from 60 to 100 would drop, over a sample of 50,000 questions.

By length and by benchmark, and how many fall to similarity alone, to an n-gram alone and to both. The rule is the one
of decontaminate.py; nothing is dropped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    from openthoughts.base.tables import QUESTIONS, read_table, write_table
    from openthoughts.models.tokenizers import load_tokenizer
    from openthoughts.questions.decontamination import Rule, distinct_texts, read_benchmarks
    from openthoughts.questions.sensitivity import SENSITIVITY, sensitivity

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True, help="questions before decontamination")
    parser.add_argument("--benchmarks", type=Path, nargs="*", required=True, help="benchmark questions, or none")
    Rule.add_arguments(parser)
    parser.add_argument("--tokenizer", default="qwen", help="qwen, a Qwen repository's name, or a model.json")
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: one for each processor (same result)")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    rule = Rule.of(arguments)
    table = sensitivity(
        distinct_texts(read_table(arguments.questions, QUESTIONS)),
        read_benchmarks(arguments.benchmarks),
        rule,
        load_tokenizer(arguments.tokenizer),
        threads=arguments.threads,
    )
    write_table(table, arguments.output, SENSITIVITY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
