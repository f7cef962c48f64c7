"""Speed and peak memory of what follows the answers, on data made up here.

    .venv/bin/python -m benchmarks.answers.benchmark all          # every answer filter that asks no model
    .venv/bin/python -m benchmarks.answers.benchmark none         # one of them
    .venv/bin/python -m benchmarks.answers.benchmark measure --questions 50000
    .venv/bin/python -m benchmarks.answers.benchmark assemble

Each runs the program as the workflow does, in a process of its own; the memory is the most that it and its children
held together (pages that they share count once). The default is a million answers of 4,000 characters; one in four
questions has final answers that are no plain numbers, and no two questions have the same ones. ``fasttext`` is the
scoring of the answers with a classifier of the published size (2 GB). Where a filter needs measures or scores, they are
made before and not timed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import psutil
from benchmarks import ROOT

from openthoughts.answers.filters import FILTERS
from openthoughts.base.hashing import question_id
from openthoughts.base.streams import TableWriter
from openthoughts.base.tables import COMPLETIONS, DRAWN, QUESTIONS, write_table

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
    "columns": '{"where": {"agreement": [0.3, 0.9], "truncated": false}}',
}
FILLER_WORDS = 2_000_000
"""Traces are cut from so many words: two of them have little in common, so that a file is as large as it would be."""
FROM_FEW = 20_000
"""Texts that the classifier of the benchmark is trained on."""
PARAMETERS = {"dim": 256, "epoch": 3, "lr": 0.1, "word_ngrams": 3, "min_count": 3, "bucket": 2_000_000, "seed": 0}
TIMED = [name for name in FILTERS if name != "llm_verification"]
"""Filters that ask no model."""


def spelling(question: int) -> tuple[str, str]:
    """Two ways to write the answers to a question; of one in four they are no plain numbers."""
    return SPELLINGS[1 + question // 4 % (len(SPELLINGS) - 1)] if question % 4 == 0 else SPELLINGS[0]


def response(generator: random.Random, filler: str, question: int, sample: int, characters: int) -> str:
    """A trace of about ``characters`` with a final answer; one in five answers is wrong."""
    start = generator.randrange(len(filler) - characters)
    spellings = spelling(question)
    wrong = generator.randrange(1, 4) if sample % 5 == 4 else 0
    answer = spellings[sample % 2] % (question + 2 + wrong)
    return f"<think>\n{filler[start : start + characters]}\n</think>\n\nThe answer is \\boxed{{{answer}}}."


def make(folder: Path, questions: int, characters: int) -> None:
    """Write ``drawn.parquet`` and ``answers.parquet``."""
    generator = random.Random(0)
    filler = " ".join(generator.choices(WORDS, k=FILLER_WORDS))
    texts = sorted((f"question {number}" for number in range(questions)), key=question_id)
    ids = [question_id(text) for text in texts]
    rows = [
        (one, text, "math", "made up", text, spelling(number)[0] % (number + 2), "{}", None, 0)
        for number, (one, text) in enumerate(zip(ids, texts, strict=True))
    ]
    write_table(pl.DataFrame(rows, schema=dict(DRAWN), orient="row"), folder / "drawn.parquet", DRAWN)
    with TableWriter(folder / "answers.parquet", COMPLETIONS) as writer:
        for start in range(0, questions, 500):
            batch = [
                (ids[q], s, response(generator, filler, q, s, characters), "stop", 50, characters // 4, "m", s, None)
                for q in range(start, min(start + 500, questions))
                for s in range(SAMPLES)
            ]
            writer.write(pl.DataFrame(batch, schema=dict(COMPLETIONS), orient="row"))


def held(process: psutil.Process) -> int:
    """Bytes that a process and its children hold, shared pages counted once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total


def run(script: str, *arguments: str) -> tuple[float, float]:
    """Run a program; its seconds and the most memory in MB that it and its children held."""
    began = time.monotonic()
    process = psutil.Popen([sys.executable, f"scripts/{script}.py", *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            most = max(most, held(process))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{script} failed")
    return time.monotonic() - began, most / 2**20


def train(folder: Path) -> None:
    """Train a classifier of the published size on made-up texts."""
    generator = random.Random(1)
    vocabulary = [f"word{number}" for number in range(30_000)]
    for name, words in (("good", vocabulary[:20_000]), ("bad", vocabulary[10_000:])):
        texts = [" ".join(generator.choices(words, k=100)) for _ in range(FROM_FEW // 2)]
        rows = [(question_id(text), text, "math", name, str(n), None, "{}") for n, text in enumerate(texts)]
        write_table(pl.DataFrame(rows, schema=dict(QUESTIONS), orient="row"), folder / f"{name}.parquet", QUESTIONS)
    given = ["--positives", f"{folder}/good.parquet", "--negatives", f"{folder}/bad.parquet", "--seed", "42"]
    given += ["--parameters", json.dumps(PARAMETERS), "--most", "all", "--summary", f"{folder}/summary.json"]
    seconds, peak = run("train_classifier", *given, "--output", f"{folder}/classifier.bin")
    print(f"train_classifier: {FROM_FEW:,} texts of 100 words in {seconds:.0f} s, peak {peak:,.0f} MB", flush=True)


def timed(what: str, folder: Path) -> tuple[float, float]:
    """Run one program on the made-up answers, after what it needs; its seconds and memory (MB)."""
    answers = ["--answers", f"{folder}/answers.parquet"]
    given = ["--questions", f"{folder}/drawn.parquet", *answers]
    measuring = [*given, "--settings", '{"last_number": true, "programs": true}', "--output", f"{folder}/measured"]
    if what == "measure":
        return run("measure_answers", *measuring)
    if what == "fasttext":
        if not (folder / "classifier.bin").exists():
            train(folder)
        scoring = ["--classifier", f"{folder}/classifier.bin", "--shard", "0", "--shards", "1"]
        return run("score_texts", *answers, *scoring, "--output", f"{folder}/scores.parquet")
    by = "none" if what == "assemble" else what
    if FILTERS[by].needs == "measured" or what == "assemble":
        if not (folder / "measured").exists():
            run("measure_answers", *measuring)
        given += ["--measured", f"{folder}/measured"]
    given += ["--output", f"{folder}/kept.parquet", "--dropped", f"{folder}/dropped.parquet"]
    found = run("filter_answers", *given, "--by", by, "--options", OPTIONS.get(by, "{}"))
    if what == "assemble":
        outputs = [f"--{name}={folder}/out/{name}" for name in ("output", "info", "card", "counts")]
        domain = ["--domain", "math", f"{folder}/drawn.parquet", f"{folder}/kept.parquet", f"{folder}/measured"]
        return run("assemble_dataset", *domain, "--recipe", "r", "--seed", "42", *outputs)
    return found


def main() -> None:
    """Make the data, run the programs on it, print their speed and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["all", *TIMED, "measure", "assemble"])
    parser.add_argument("--questions", type=int, default=62_500)
    parser.add_argument("--characters", type=int, default=4_000)
    arguments = parser.parse_args()
    answers = arguments.questions * SAMPLES
    size = f"{answers:,} answers of {arguments.characters:,} characters"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, arguments.questions, arguments.characters)
        for what in ["measure", *TIMED] if arguments.what == "all" else [arguments.what]:
            seconds, peak = timed(what, folder)
            print(f"{what}: {size} in {seconds:.0f} s ({answers / seconds:,.0f}/s), peak {peak:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
