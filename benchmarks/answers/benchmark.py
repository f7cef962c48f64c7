"""Speed and peak memory of what follows the answers, on data made up here.

    .venv/bin/python benchmarks/answers/benchmark.py none         # an answer filter (any that asks no model)
    .venv/bin/python benchmarks/answers/benchmark.py majority --questions 50000 --characters 400
    .venv/bin/python benchmarks/answers/benchmark.py assemble

Each runs the program as the workflow does, in a process of its own whose peak memory is reported. The default is a
million answers of 4,000 characters; one in four questions has final answers that are no plain numbers.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from lib.filters import FILTERS  # noqa: E402
from lib.hashing import question_id  # noqa: E402
from lib.streams import TableWriter  # noqa: E402
from lib.tables import COMPLETIONS, DRAWN, write_table  # noqa: E402

SAMPLES = 16
WORDS = [
    "the",
    "integral",
    "of",
    "$x^2$",
    "is",
    "therefore",
    "we",
    "find",
    "\\frac{a}{b}",
    "so",
    "that",
    "7",
    "or",
    "12",
    "points",
    "remain\n\n",
    "wait",
    "let",
    "me",
    "check",
]
SPELLINGS = [
    ("%d", "%d.0"),
    (r"\frac{1}{%d}", "1/%d"),
    ("x+%d", "%d+x"),
    (r"%d\sqrt{2}", r"\sqrt{2}\cdot %d"),
    ("(%d,2)", "(%d, 2)"),
]
OPTIONS = {
    "random": '{"keep_per_question": 8}',
    "shortest": '{"keep_per_question": 8}',
    "longest": '{"keep_per_question": 8}',
    "short_paragraphs": '{"max_characters": 500}',
}


def response(generator: random.Random, filler: str, question: int, sample: int, characters: int) -> str:
    """A trace of about ``characters`` with a final answer; one in five answers is wrong."""
    start = generator.randrange(len(filler) - characters)
    spellings = SPELLINGS[1 + question % (len(SPELLINGS) - 1)] if question % 4 == 0 else SPELLINGS[0]
    wrong = generator.randrange(1, 4) if sample % 5 == 4 else 0
    answer = spellings[sample % 2] % (question % 97 + 2 + wrong)
    return f"<think>\n{filler[start : start + characters]}\n</think>\n\nThe answer is \\boxed{{{answer}}}."


def make(folder: Path, questions: int, characters: int) -> None:
    """Write ``drawn.parquet`` and ``answers.parquet``."""
    generator = random.Random(0)
    filler = " ".join(generator.choices(WORDS, k=4 * characters))
    texts = sorted((f"question {number}" for number in range(questions)), key=question_id)
    ids = [question_id(text) for text in texts]
    rows = [(one, text, "math", "made up", text, None, "{}", None, 0) for one, text in zip(ids, texts, strict=True)]
    write_table(pl.DataFrame(rows, schema=dict(DRAWN), orient="row"), folder / "drawn.parquet", DRAWN)
    with TableWriter(folder / "answers.parquet", COMPLETIONS) as writer:
        for start in range(0, questions, 500):
            batch = [
                (ids[q], s, response(generator, filler, q, s, characters), "stop", 50, characters // 4, "m", s, None)
                for q in range(start, min(start + 500, questions))
                for s in range(SAMPLES)
            ]
            writer.write(pl.DataFrame(batch, schema=dict(COMPLETIONS), orient="row"))


def measure(script: str, *arguments: str) -> tuple[float, float]:
    """Run a program; its seconds and the peak memory in MB of its process."""
    wrapper = (
        "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, 'scripts')\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print([l for l in open('/proc/self/status') if 'VmHWM' in l][0].split()[1], file=sys.stderr)"
    )
    began = time.monotonic()
    command = [sys.executable, "-c", wrapper, f"scripts/{script}.py", *arguments]
    finished = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=True)
    return time.monotonic() - began, int(finished.stderr.split()[-1]) / 1024


def main() -> None:
    """Make the data, run one program on it, print its speed and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*FILTERS, "assemble"])
    parser.add_argument("--questions", type=int, default=62_500)
    parser.add_argument("--characters", type=int, default=4_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, arguments.questions, arguments.characters)
        given = ["--questions", f"{folder}/drawn.parquet", "--answers", f"{folder}/answers.parquet"]
        given += ["--output", f"{folder}/kept.parquet", "--dropped", f"{folder}/dropped.parquet"]
        by = "none" if arguments.what == "assemble" else arguments.what
        seconds, peak = measure("filter_answers", *given, "--by", by, "--options", OPTIONS.get(by, "{}"))
        if arguments.what == "assemble":
            outputs = [f"--{name}={folder}/out/{name}" for name in ("output", "info", "card", "counts")]
            domain = ["--domain", "math", f"{folder}/drawn.parquet", f"{folder}/kept.parquet"]
            seconds, peak = measure("assemble_dataset", *domain, "--recipe", "r", "--seed", "42", *outputs)
        answers = arguments.questions * SAMPLES
        size = f"{answers:,} answers of {arguments.characters:,} characters"
        print(f"{arguments.what}: {size} in {seconds:.0f} s ({answers / seconds:,.0f}/s), peak {peak:,.0f} MB")


if __name__ == "__main__":
    main()
