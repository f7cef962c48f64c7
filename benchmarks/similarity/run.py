"""Measure the exact joins, the n-grams and the whole stages beside brute force, and write the table of results.

    .venv/bin/python -m benchmarks.similarity.run            # everything, about half an hour on two cores
    .venv/bin/python -m benchmarks.similarity.run join long  # some cases, printed only

Every case runs in a process of its own, so that its peak memory is its own. Times are CPU seconds of all threads,
preparation included, kernels compiled before (`startup` measures that). Brute force that would take too long is timed
on a random sample of rows, which the table states, and multiplied up.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import ROOT

CACHE = ROOT / "cache" / "benchmarks"
RESULTS = Path(__file__).with_name("RESULTS.md")

Result = dict[str, Any]
CASES: dict[str, Callable[[], Result]] = {}

LEFT, RIGHT, MILLION = 70_000, 5_000, 1_000_000
PUBLISHED_BENCHMARKS = 12


def case(measure: Callable[[], Result]) -> Callable[[], Result]:
    CASES[measure.__name__] = measure
    return measure


@contextlib.contextmanager
def timed(result: Result, name: str) -> Iterator[None]:
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    result[f"{name}_cpu"] = round(time.process_time() - cpu, 3)
    result[f"{name}_wall"] = round(time.perf_counter() - wall, 3)


def cached(name: str, make: Callable[[], Any]) -> Any:
    """Texts of the benchmark, made once."""
    path = CACHE / f"{name}.pickle"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            made = make()
        path.write_bytes(pickle.dumps(made))
    return pickle.loads(path.read_bytes())


def real() -> tuple[list[str], list[str]]:
    from benchmarks.similarity.corpus import real_texts

    left, right = cached("real", lambda: real_texts(LEFT, RIGHT))
    return left, right


def recombined() -> list[str]:
    from benchmarks.similarity import corpus

    made: list[str] = cached("recombined", lambda: corpus.recombined(MILLION, corpus.sentences_of(corpus.docstrings())))
    return made


def templates() -> list[str]:
    from benchmarks.similarity import corpus

    made: list[str] = cached("templates", lambda: corpus.templates(MILLION + RIGHT // 50))
    return made


def count_pairs(left: list[str], right: list[str], threshold: float) -> int:
    from openthoughts.similarity import join

    return sum(len(batch) for batch in join(left, right, threshold, engine="compiled"))


def warm_up() -> None:
    """Load the compiled kernels, so that they are not measured."""
    from openthoughts.similarity import first_similar

    count_pairs(["warm up", "warm"], ["warm up"], 75)
    first_similar(["warm up", "warm"], 75, engine="compiled")


def brute_force(result: Result, left: list[str], right: list[str], threshold: float, rows: int) -> None:
    """rapidfuzz on all pairs of a random sample of rows."""
    import numpy as np
    from rapidfuzz import fuzz, process

    sample = random.Random(0).sample(left, min(rows, len(left)))
    cpu = time.process_time()
    pairs = 0
    for start in range(0, len(sample), 50):
        scores = process.cdist(sample[start : start + 50], right, scorer=fuzz.ratio, score_cutoff=threshold, workers=1)
        pairs += int(np.count_nonzero(scores >= threshold))
    used = time.process_time() - cpu
    result.update(brute_rows=len(sample), brute_sample_pairs=pairs, brute_cpu=round(used * len(left) / len(sample), 1))


def compare_join(left: list[str], right: list[str], threshold: float, rows: int) -> Result:
    warm_up()
    result: Result = {"left": len(left), "right": len(right), "threshold": threshold}
    with timed(result, "ours"):
        result["pairs"] = count_pairs(left, right, threshold)
    brute_force(result, left, right, threshold, rows)
    return result


def deduplicate(texts: list[str], threshold: float) -> Result:
    from openthoughts.similarity import first_similar

    warm_up()
    texts = sorted(texts, key=len, reverse=True)
    result: Result = {"left": len(texts), "right": len(texts), "threshold": threshold}
    with timed(result, "ours"):
        found = first_similar(texts, threshold, engine="compiled")
    result["pairs"] = int((found.twin >= 0).sum())
    return result


@case
def join() -> Result:
    """Real texts of mixed lengths, at 75"""
    return compare_join(*real(), threshold=75, rows=2000)


@case
def long() -> Result:
    """Real texts of more than 1,000 characters, at 75"""
    from benchmarks.similarity.corpus import docstrings

    texts = [text for text in cached("docstrings", docstrings) if len(text) > 1000]
    random.Random(1).shuffle(texts)
    return compare_join(texts[1000:], texts[:1000], threshold=75, rows=150)


@case
def self_join() -> Result:
    """Real texts with themselves, at 90"""
    left, _ = real()
    result = deduplicate(left, 90)
    brute_force(result, left, left, 90, rows=300)
    result["brute_cpu"] = round(result["brute_cpu"] / 2, 1)  # every pair once
    return result


@case
def million() -> Result:
    """A million recombined texts against benchmark questions, at 75"""
    return compare_join(recombined(), real()[1], threshold=75, rows=1000)


@case
def million_self() -> Result:
    """A million recombined texts with themselves, at 90"""
    texts = recombined()
    result = deduplicate(texts, 90)
    brute_force(result, texts, texts, 90, rows=20)
    result["brute_cpu"] = round(result["brute_cpu"] / 2, 1)
    return result


@case
def templates_join() -> Result:
    """A million filled templates against 4,900 questions and 100 of the same templates, at 75"""
    texts = templates()
    random.Random(2).shuffle(texts)
    return compare_join(texts[100 : MILLION + 100], [*real()[1][100:], *texts[:100]], threshold=75, rows=1000)


@case
def templates_self() -> Result:
    """A million filled templates with themselves, at 90"""
    return deduplicate(templates()[:MILLION], 90)


@case
def ngrams() -> Result:
    """13-grams of real texts"""
    return _ngrams(*real())


@case
def ngrams_recombined() -> Result:
    """13-grams of 100,000 recombined texts"""
    return _ngrams(random.Random(3).sample(recombined(), 100_000), real()[1])


def _ngrams(left: list[str], right: list[str]) -> Result:
    from openthoughts.models.tokenizers import encode_stream, load_tokenizer
    from openthoughts.similarity.ngram_runs import RunFinder
    from openthoughts.similarity.ngrams import NgramIndex

    tokenizer = load_tokenizer("qwen")
    NgramIndex(tokenizer, right[:10], 13, engine="compiled").find(right[:20])
    result: Result = {"left": len(left), "right": len(right)}
    with timed(result, "tokenize"):
        encoded = list(encode_stream(tokenizer, left))
    result["tokens"] = sum(map(len, encoded))
    finder = RunFinder(list(encode_stream(tokenizer, right)), 13)
    with timed(result, "lookup"):
        result["pairs"] = len(finder.find(encoded)[0])
    index = NgramIndex(tokenizer, right, 13, engine="compiled")
    with timed(result, "ours"):
        runs = index.find(left)
    assert len(runs) == result["pairs"]
    result["texts"] = len({run.text for run in runs})
    return result


@case
def stage() -> Result:
    """decontaminate.py from file to file, against the published way"""
    import decontaminate

    left, right = real()
    result: Result = {"left": len(left), "right": len(right), "threshold": 75}
    with tempfile.TemporaryDirectory() as folder:
        questions = _table(Path(folder) / "questions.parquet", "web", left)
        size = -(-len(right) // PUBLISHED_BENCHMARKS)
        benchmarks = [
            _table(Path(folder) / f"benchmark{i}.parquet", f"benchmark{i}", right[i * size : (i + 1) * size])
            for i in range(PUBLISHED_BENCHMARKS)
        ]
        output = ["--output", f"{folder}/clean.parquet", "--dropped", f"{folder}/dropped.parquet"]
        with timed(result, "ours"):
            assert decontaminate.main(["--questions", questions, "--benchmarks", *benchmarks, *output]) == 0
    brute_force(result, left, right, 75, rows=2000)
    result["brute_cpu"] = round(result["brute_cpu"] + _published_ngrams(left, right, size), 1)
    return result


def _table(path: Path, source: str, texts: list[str]) -> str:
    import polars as pl

    from openthoughts.base.hashing import question_id
    from openthoughts.base.tables import QUESTIONS, write_table

    rows = [(question_id(text), text, "math", source, str(row), None, "{}") for row, text in enumerate(texts)]
    write_table(pl.DataFrame(rows, schema=dict(QUESTIONS), orient="row"), path, QUESTIONS)
    return str(path)


def _published_ngrams(left: list[str], right: list[str], size: int) -> float:
    """CPU seconds of sets of 13-grams with the corpus tokenized for every benchmark, from 5,000 rows."""
    from openthoughts.models.tokenizers import load_tokenizer

    tokenizer = load_tokenizer("qwen")
    sample = random.Random(0).sample(left, 5000)
    cpu = time.process_time()
    grams = {gram for ids in tokenizer.encode_batch(right[:size]) for gram in _gram_set(ids.tolist())}
    hits = sum(not grams.isdisjoint(_gram_set(ids.tolist())) for ids in tokenizer.encode_batch(sample))
    assert hits
    return (time.process_time() - cpu) * len(left) / len(sample) * PUBLISHED_BENCHMARKS


def _gram_set(ids: list[int]) -> set[tuple[int, ...]]:
    return {tuple(ids[start : start + 13]) for start in range(len(ids) - 12)}


@case
def startup() -> Result:
    """First use after installation, and every later one"""
    result: Result = {}
    program = (
        "import sys, time; sys.path.insert(0, 'scripts'); start = time.process_time(); wall = time.perf_counter();"
        "from openthoughts.similarity import join, first_similar;"
        "from openthoughts.similarity.ngrams import NgramIndex;"
        "from openthoughts.models.tokenizers import load_tokenizer;"
        "list(join(['a b'], ['a b'], 75, engine='compiled')); first_similar(['ab'], 75, engine='compiled');"
        "NgramIndex(load_tokenizer('qwen'), ['a b'], 1, engine='compiled').find(['a b']);"
        "print(time.process_time() - start, time.perf_counter() - wall)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "later"):
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            command = [sys.executable, "-c", program]
            out = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
            result[f"{name}_cpu"], result[f"{name}_wall"] = (round(float(value), 2) for value in out.split())
    return result


def machine() -> str:
    """The machine in words."""
    model = "unknown processor"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("rapidfuzz", "numba", "numpy", "polars", "tiktoken"))
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}, {libraries}"


def run_case(name: str) -> Result:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.similarity.run", "--in-process", name]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: Result = json.loads(out.splitlines()[-1])
    print(json.dumps({name: result}), flush=True)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(CASES)}; none: all of them, and write the table")
    parser.add_argument("--in-process", metavar="CASE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        result = CASES[arguments.in_process]()
        result["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
        result["load"] = round(os.getloadavg()[0], 1)
        print(json.dumps(result))
        return 0
    results = {name: run_case(name) for name in arguments.cases or CASES}
    if not arguments.cases:
        from benchmarks.similarity.report import render

        titles = {name: (measure.__doc__ or name) for name, measure in CASES.items()}
        RESULTS.write_text(render(results, titles, machine(), time.strftime("%Y-%m-%d")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
