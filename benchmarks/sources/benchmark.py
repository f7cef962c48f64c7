"""Speed and peak memory of fetching and selecting questions, on data made up here.

    .venv/bin/python -m benchmarks.sources.benchmark hub             # a million rows of Parquet, from a hub on loopback
    .venv/bin/python -m benchmarks.sources.benchmark stackexchange   # 2 GB of Posts.xml, and in a 7z archive
    .venv/bin/python -m benchmarks.sources.benchmark select          # the best 180,000 of 2.9 million rows
    .venv/bin/python -m benchmarks.sources.benchmark all             # the three, for RESULTS.md

Each runs the program as the workflow does, in a process of its own, start and imports included, whose peak memory is
reported. What comes out is a table in Markdown with the machine, the processor time and what was aimed at.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import polars as pl
from benchmarks import ROOT

TEXT = "find the number of ways to choose three different points on a circle so that no two of them are adjacent"
WORDS = TEXT.split()
MEASURED = """
import re, runpy, sys
sys.path.insert(0, {scripts!r})
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("peak", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def sentence(generator: random.Random, words: int) -> str:
    """A text of about this many words."""
    return " ".join(generator.choices(WORDS, k=words))


@dataclass(frozen=True)
class Target:
    """What a run aims at on two cores: ``rate`` units a second, and a ``peak`` in MB."""

    rate: float
    peak: float


@dataclass(frozen=True)
class Result:
    """A run: ``amount`` of ``unit`` in ``seconds`` of which the processors worked ``cpu``; ``peak`` is in MB."""

    what: str
    amount: float
    unit: str
    seconds: float
    cpu: float
    peak: float
    target: Target | None

    def line(self) -> str:
        """Its line of the table."""
        aim = f"{self.target.rate:,.0f} {self.unit}/s, {self.target.peak:,.0f} MB" if self.target else ""
        rate, of_cpu = self.amount / self.seconds, self.amount / self.cpu
        numbers = (f"{rate:,.0f} {self.unit}/s", f"{self.seconds:.1f}", f"{self.cpu:.1f}", f"{of_cpu:,.0f}")
        return "| " + " | ".join((self.what, *numbers, f"{self.peak:,.0f} MB", aim)) + " |"


HEAD = """| what | rate | s | CPU s | a CPU s | peak memory | aim |
|---|---|---|---|---|---|---|"""


def processor() -> str:
    """The name of the processor, as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine() -> str:
    """A sentence about the machine and how busy it is."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    python, today = platform.python_version(), datetime.datetime.now(tz=datetime.UTC).date()
    return f"{processor()}, {cores} cores, Python {python}, polars {pl.__version__}, {today}, load average {load:.1f}."


def measure(
    arguments: list[str], what: str, amount: float, unit: str, target: Target | None = None, **environment: str
) -> Result:
    """Run a program: ``amount`` of ``unit`` is what it reads."""
    program = MEASURED.format(scripts=str(ROOT / "scripts"))
    command = [sys.executable, "-c", program, str(ROOT / "scripts" / arguments[0]), *arguments[1:]]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run = subprocess.run(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True, check=False)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(run.stderr)
    peak = int(run.stderr.rsplit("peak ", 1)[1]) / 1024
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = Result(what, amount, unit, seconds, cpu, peak, target)
    print(result.line(), file=sys.stderr)
    return result


def fetch(name: str, entry: dict[str, object], output: Path, *more: str) -> list[str]:
    """The arguments of a fetch."""
    arguments = ["--name", name, "--domain", "math", "--entry", json.dumps(entry), "--output", str(output)]
    return ["fetch_source.py", *arguments, *more]


def conversations(rows: int, seed: int) -> pl.DataFrame:
    """Rows of a chat column: a question of some 250 characters and an answer of some 1,200."""
    generator = random.Random(seed)
    messages = [
        [
            {"role": "user", "content": f"{number}: {sentence(generator, 50)}"},
            {"role": "assistant", "content": sentence(generator, 60) * 4},
        ]
        for number in range(rows)
    ]
    return pl.DataFrame({"messages": messages})


def hub(folder: Path, rows: int) -> list[Result]:
    """Fetch ``rows`` rows of ten Parquet files from a hub on loopback, then again with the files here already."""
    from tests.fake_hub import FakeHub

    files: dict[str, bytes | str] = {}
    for number in range(10):
        path = folder / f"{number}.parquet"
        conversations(rows // 10, number).write_parquet(path)
        files[f"data/train-{number:05}-of-00010.parquet"] = path.read_bytes()
    server = FakeHub()
    commit = server.commit("made/up", files)
    entry: dict[str, object] = {"connector": "hub", "dataset": "made/up", "chat": "messages"}
    arguments = fetch("made-up", entry, folder / "questions.parquet", "--revision", commit)
    with server.running():
        cache = {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
        what, target = f"hub, {rows:,} rows of a chat column in ten Parquet files", Target(100_000, 1000)
        return [
            measure(arguments, f"{what}, downloaded, checked and normalised", rows, "rows", **cache),
            measure(arguments, f"{what}, here already, checked and normalised", rows, "rows", target, **cache),
        ]


def posts(size: int) -> Iterator[str]:
    """Rows of ``Posts.xml`` of ``size`` bytes, one question to two answers, with some markup as in real posts."""
    generator = random.Random(0)
    written, number = 0, 0
    while written < size:
        number += 1
        question = number % 3 == 0
        body = (
            f"<p>{sentence(generator, 90)} $x^2 &lt; {number}$ <em>really</em>?</p>\n"
            f"<pre><code>for i in range({number}):\n    print(i &lt; 2)\n</code></pre>\n"
            f'<p>{sentence(generator, 60)}, see <a href="https://x">this</a>.</p>\n'
            f"<ul>\n<li>{sentence(generator, 8)}</li>\n<li>{sentence(generator, 8)}</li>\n</ul>\n"
        )
        row = (
            f'  <row Id="{number}" PostTypeId="{1 if question else 2}" Score="3" Title="A title" '
            f'Body={quoteattr(body, {chr(10): "&#xA;"})} ContentLicense="CC BY-SA 4.0" />\n'
        )
        written += len(row)
        yield row


def stackexchange(folder: Path, size: int) -> list[Result]:
    """Fetch the questions of ``size`` bytes of posts, packed as the public dumps are."""
    import py7zr

    xml = folder / "Posts.xml"
    with xml.open("w", encoding="utf-8") as file:
        file.writelines(['<?xml version="1.0" encoding="utf-8"?>\n<posts>\n', *posts(size), "</posts>\n"])
    archive = folder / "site.7z"
    with py7zr.SevenZipFile(archive, "w", filters=[{"id": py7zr.FILTER_LZMA2, "preset": 1}]) as packed:
        packed.write(xml, "Posts.xml")
    megabytes = xml.stat().st_size / 1e6
    results = []
    for path, words in ((xml, "as it is"), (archive, "in a 7z archive")):
        entry: dict[str, object] = {"connector": "stackexchange", "site": "x", "url": str(path)}
        arguments = fetch("site", entry, folder / "questions.parquet")
        what = f"StackExchange, {megabytes:,.0f} MB of Posts.xml rich in markup, {words}"
        results.append(measure(arguments, what, megabytes, "MB", Target(50, 500)))
    return results


def select(folder: Path, rows: int) -> list[Result]:
    """Select the best 180,000 of ``rows`` labelled questions."""
    from openthoughts.base.hashing import question_ids
    from openthoughts.base.streams import TableWriter
    from openthoughts.base.tables import LABELS, QUESTIONS

    generator = random.Random(0)
    with TableWriter(folder / "q.parquet", QUESTIONS) as questions, TableWriter(folder / "l.parquet", LABELS) as labels:
        for start in range(0, rows, 100_000):
            texts = pl.Series("question", [f"{start + n}: {sentence(generator, 50)}" for n in range(100_000)])
            table = pl.DataFrame([question_ids(texts), texts]).with_row_index("row", offset=start)
            table = table.with_columns(
                pl.lit("math").alias("domain"),
                pl.lit("one").alias("source"),
                pl.col("row").cast(pl.String).alias("source_row"),
                pl.lit(None, pl.String).alias("reference_answer"),
                pl.lit("{}").alias("metadata"),
            )
            questions.write(table)
            null = pl.lit(None, pl.String)
            value = pl.col("row").hash(seed=1) % 5000
            labels.write(table.with_columns(value.alias("value"), null.alias("rationale"), null.alias("error")))
    paths = ["--questions", str(folder / "q.parquet"), "--labels", str(folder / "l.parquet")]
    outputs = ["--output", str(folder / "o.parquet"), "--dropped", str(folder / "d.parquet")]
    chosen = ["--by", "response_length", "--keep", "180000", "--seed", "42"]
    what = f"the best 180,000 of {rows:,} labelled questions"
    return [measure(["select_questions.py", *paths, *chosen, *outputs], what, rows, "rows")]


RUNS: dict[str, tuple[Callable[[Path, int], list[Result]], int]] = {
    "hub": (hub, 1_000_000),
    "stackexchange": (stackexchange, 2_000_000_000),
    "select": (select, 2_900_000),
}


def main() -> None:
    """Run the benchmark that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*RUNS, "all"])
    parser.add_argument("--size", type=int, help="rows, or bytes of XML")
    arguments = parser.parse_args()
    started, results = machine(), []
    for name in RUNS if arguments.what == "all" else [arguments.what]:
        run, size = RUNS[name]
        with tempfile.TemporaryDirectory() as folder:
            results += run(Path(folder), arguments.size or size)
    print(started, HEAD + "\n" + "\n".join(result.line() for result in results), sep="\n\n")


if __name__ == "__main__":
    main()
