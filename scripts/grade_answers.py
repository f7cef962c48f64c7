"""Grade the answers of one model to its benchmarks, and score each benchmark.

Give --benchmark once for every benchmark: its name, its questions and its grader. An answer that could not be read
counts as 0 and is reported as unparseable; one that the grader gave up on is unknown and left out of the score.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.base.tables import GRADES, SCORES, write_table
from openthoughts.experiments.errors import benchmark_scores
from openthoughts.grading.grade_completions import BenchmarkQuestions, grade_completions


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=Path, required=True, help="the model's answers to all benchmarks")
    parser.add_argument("--benchmark", nargs=3, action="append", required=True, metavar=("NAME", "QUESTIONS", "GRADER"))
    parser.add_argument("--judgements", type=Path, nargs="*", default=[], help="what judges said of the answers")
    parser.add_argument("--output", type=Path, required=True, help="a row for every answer")
    parser.add_argument("--scores", type=Path, required=True, help="a row for every benchmark")
    parser.add_argument(
        "--without-sandbox",
        action="store_true",
        help="run programs that models wrote without protection, with all that your user may do",
    )
    arguments = parser.parse_args(argv)
    benchmarks = [BenchmarkQuestions(name, Path(path), grader) for name, path, grader in arguments.benchmark]
    grades = grade_completions(arguments.completions, benchmarks, not arguments.without_sandbox, arguments.judgements)
    scores = benchmark_scores(grades)
    for row in scores.iter_rows(named=True):
        logging.info("%s: %s", row["benchmark"], "unknown" if row["score"] is None else f"{row['score']:.1f}")
    write_table(grades, arguments.output, GRADES)
    write_table(scores, arguments.scores, SCORES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
