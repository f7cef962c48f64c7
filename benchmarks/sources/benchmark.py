"""Speed and peak memory of fetching and selecting questions, on data made up here.

    .venv/bin/python benchmarks/sources/benchmark.py hub             # a million rows of Parquet, from a hub on loopback
    .venv/bin/python benchmarks/sources/benchmark.py stackexchange   # 2 GB of Posts.xml in a 7z archive
    .venv/bin/python benchmarks/sources/benchmark.py select          # the best 180,000 of 2.9 million rows

Each runs the program as the workflow does, in a process of its own whose peak memory is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

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


def measure(arguments: list[str], what: str, amount: float, unit: str, **environment: str) -> None:
    """Run a program, and print its speed in ``unit`` a second and its peak memory."""
    program = MEASURED.format(scripts=str(ROOT / "scripts"))
    command = [sys.executable, "-c", program, str(ROOT / "scripts" / arguments[0]), *arguments[1:]]
    began = time.monotonic()
    run = subprocess.run(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - began
    if run.returncode:
        raise SystemExit(run.stderr)
    peak = int(run.stderr.rsplit("peak ", 1)[1]) / 1024
    print(f"{what}: {amount / seconds:,.0f} {unit}/s ({seconds:.0f} s), peak {peak:,.0f} MB")


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


def hub(folder: Path, rows: int) -> None:
    """Fetch ``rows`` rows of ten Parquet files from a hub on loopback."""
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
        measure(arguments, f"hub, {rows:,} rows", rows, "rows", **cache)


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


def stackexchange(folder: Path, size: int) -> None:
    """Fetch the questions of ``size`` bytes of posts, packed as the public dumps are."""
    import py7zr

    xml = folder / "Posts.xml"
    with xml.open("w", encoding="utf-8") as file:
        file.writelines(['<?xml version="1.0" encoding="utf-8"?>\n<posts>\n', *posts(size), "</posts>\n"])
    archive = folder / "site.7z"
    with py7zr.SevenZipFile(archive, "w", filters=[{"id": py7zr.FILTER_LZMA2, "preset": 1}]) as packed:
        packed.write(xml, "Posts.xml")
    megabytes = xml.stat().st_size / 1e6
    for path in (xml, archive):
        entry: dict[str, object] = {"connector": "stackexchange", "site": "x", "url": str(path)}
        arguments = fetch("site", entry, folder / "questions.parquet")
        measure(arguments, f"{path.name}, {megabytes:,.0f} MB of XML", megabytes, "MB")


def select(folder: Path, rows: int) -> None:
    """Select the best 180,000 of ``rows`` labelled questions."""
    from lib.hashing import question_ids
    from lib.streams import TableWriter
    from lib.tables import LABELS, QUESTIONS

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
    measure(["select_questions.py", *paths, *chosen, *outputs], f"select, {rows:,} rows", rows, "rows")


RUNS: dict[str, tuple[Callable[[Path, int], None], int]] = {
    "hub": (hub, 1_000_000),
    "stackexchange": (stackexchange, 2_000_000_000),
    "select": (select, 2_900_000),
}


def main() -> None:
    """Run the benchmark that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=RUNS)
    parser.add_argument("--size", type=int, help="rows, or bytes of XML")
    arguments = parser.parse_args()
    run, size = RUNS[arguments.what]
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), arguments.size or size)


if __name__ == "__main__":
    main()
