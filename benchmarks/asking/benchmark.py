"""What the path from question to stored answer costs, without a model: the server answers at once.

    .venv/bin/python -m benchmarks.asking.benchmark overhead   # requests/s against a bare loop, interleaved
    .venv/bin/python -m benchmarks.asking.benchmark memory     # peak memory of 10,000 and of 200,000 requests
    .venv/bin/python -m benchmarks.asking.benchmark complete   # a shard of 20,000 answers that is in the store

Server and client share the machine's cores. ``overhead`` counts everything: looking into the store, asking, journal,
folding, and writing the table of completions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import ROOT
from tests.asking_helpers import write_model
from tests.fake_openai import API_KEY, MODEL

from openthoughts.base.hashing import question_id, request_seed
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import Asking, Prompted
from openthoughts.inference.pace import Limits
from openthoughts.inference.sampling import Sampling
from openthoughts.models.model import Model
from openthoughts.store.keys import KeyMaker, model_partition
from openthoughts.store.store import Store

CONCURRENCY = 512
SAMPLES = 16


@contextmanager
def fake_server() -> Iterator[str]:
    """A server that answers at once, in a process of its own; yields its address."""
    process = subprocess.Popen([sys.executable, "-m", "tests.fake_openai"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def generated(count: int) -> Callable[[], Iterator[Prompted]]:
    """``count`` requests for made-up questions in the order of their ids, none of them held in memory."""
    ids = sorted((question_id(f"question {number}"), number) for number in range((count + SAMPLES - 1) // SAMPLES))

    def prompts() -> Iterator[Prompted]:
        for position in range(count):
            name, number = ids[position // SAMPLES]
            sample = position % SAMPLES
            messages = [{"role": "user", "content": f"question {number} " * 30}]
            yield Prompted(name, sample, request_seed(1, name, sample), messages)

    return prompts


def asking(folder: Path, url: str) -> Asking:
    """How the benchmark asks."""
    path = write_model(folder)
    address = {"base_url": url, "api_key": API_KEY, "model_name": MODEL}
    os.environ["OPENTHOUGHTS_SERVERS"] = json.dumps({Model.read(path).key_digest(): address})
    return Asking(
        model=Model.read(path),
        store=folder / "store",
        sampling=Sampling(temperature=1.0, max_tokens=100),
        limits=Limits(concurrency=CONCURRENCY),
    )


def bare(url: str, count: int) -> float:
    """Requests/s of the plain client in a plain loop."""
    from openai import AsyncOpenAI

    async def run() -> float:
        async with AsyncOpenAI(base_url=url, api_key=API_KEY, max_retries=0, timeout=600.0) as client:
            prompts = generated(count)()

            async def work() -> None:
                for one in prompts:
                    answer = await client.chat.completions.create(
                        model=MODEL,
                        messages=one.messages,  # type: ignore[arg-type]
                        temperature=1.0,
                        top_p=1.0,
                        max_tokens=100,
                        seed=one.seed,
                    )
                    assert answer.choices[0].message.content

            began = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
            return count / (time.perf_counter() - began)

    return asyncio.run(run())


def ours(url: str, count: int) -> float:
    """Requests/s from question to table of completions, through an empty store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        how = asking(folder, url)
        began = time.perf_counter()
        complete_shard(generated(count), how, folder / "answers.parquet")
        return count / (time.perf_counter() - began)


def overhead(count: int, pairs: int) -> None:
    """Print requests/s of both, interleaved, and the median of the ratios."""
    ratios = []
    with fake_server() as url:
        bare(url, count // 10)
        for _ in range(pairs):
            plain, whole = bare(url, count), ours(url, count)
            ratios.append(whole / plain)
            print(f"bare loop {plain:7.0f} requests/s, ours {whole:7.0f} requests/s, ratio {whole / plain:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f} (at least 0.90 is wanted)")


def memory(counts: list[int]) -> None:
    """Print the peak memory of runs of different lengths, each in a process of its own."""
    with fake_server() as url:
        for count in counts:
            command = [
                sys.executable,
                "-m",
                "benchmarks.asking.benchmark",
                "run",
                "--requests",
                str(count),
                "--url",
                url,
            ]
            output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
            print(f"{count:7d} requests: {output.strip()}")


def run(url: str, count: int) -> None:
    """One run; prints its speed and its peak memory."""
    speed = ours(url, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{speed:.0f} requests/s, peak memory {peak:.0f} MiB")


def complete(count: int, tokens: int) -> None:
    """Print how long a shard takes of which every answer is in the store, of so many tokens each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        how = asking(folder, "http://127.0.0.1:9/v1")
        fill(how, generated(count), tokens)
        began = time.perf_counter()
        program = "import sys; sys.argv[0]; from benchmarks.asking import benchmark as b; "
        program += f"b.from_store({str(folder)!r}, {count})"
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"}
        output = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
        ).stdout
        print(f"{count} answers of {tokens} tokens: {time.perf_counter() - began:.1f} s, {output.strip()}")


def fill(how: Asking, prompts: Callable[[], Iterator[Prompted]], tokens: int) -> None:
    """Put answers to all prompts into the store, folded in batches as a long run does."""
    import random

    chance = random.Random(0)
    words = [f"{chance.randrange(10**5)}" for _ in range(5000)]
    key = KeyMaker(how.model.key(), how.sampling.key(), None)
    with Store(how.store) as store:
        for number, one in enumerate(prompts(), 1):
            store.append(
                {
                    "key": key(one.messages, one.sample, one.seed),
                    "model_id": model_partition(how.model.key()),
                    "model": how.model.name,
                    "question_id": one.question_id,
                    "sample": one.sample,
                    "seed": one.seed,
                    "text": " ".join(chance.choices(words, k=tokens)),
                    "finish_reason": "stop",
                    "prompt_tokens": 10,
                    "completion_tokens": tokens,
                    "answered_at": number,
                }
            )
            if number % 1000 == 0:
                store.fold()


def from_store(folder: str, count: int) -> None:
    """Write a shard that is complete in the store; prints its peak memory."""
    how = asking(Path(folder), "http://127.0.0.1:9/v1")
    complete_shard(generated(count), how, Path(folder) / "answers.parquet")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=["overhead", "memory", "complete", "run"])
    parser.add_argument("--requests", type=int, help="requests of a run")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=1000, help="length of an answer (complete)")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    if options.benchmark == "overhead":
        overhead(options.requests or 10_000, options.pairs)
    elif options.benchmark == "memory":
        memory([10_000, options.requests or 200_000])
    elif options.benchmark == "complete":
        complete(options.requests or 20_000, options.tokens)
    else:
        run(options.url, options.requests)


if __name__ == "__main__":
    main()
