"""Tokens/s of a shard against vLLM's own serving benchmark: one server, the same prompts and settings, fixed lengths.

    .venv/bin/python -m benchmarks.asking.efficiency [--pairs 5] [--requests 128] [--tokens 64] [--concurrency 32]

Both sides ask for every answer with a seed and ``ignore_eos``, in turn, after a round each that warms the server's
prefix cache. vLLM's side is the throughput that ``vllm bench serve`` prints, from its first request to its last answer;
ours is the whole way from questions to the table of completions, store and journal included.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import ROOT

from openthoughts.base import environments
from openthoughts.base.hashing import question_id
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.endpoints import Endpoint
from openthoughts.inference.job import Asking
from openthoughts.inference.pace import Limits
from openthoughts.inference.prompts import Prompt
from openthoughts.inference.request_source import prompted
from openthoughts.inference.sampling import Sampling
from openthoughts.inference.server import engine
from openthoughts.inference.vllm import EngineSettings
from openthoughts.models.fetch import fetch
from openthoughts.models.model import Model
from openthoughts.plan.config import read_yaml

NAME = "smollm2-135m-instruct"
MISSING = ("pandas==2.3.3", "python-dateutil==2.9.0.post0", "pytz==2025.2", "tzdata==2025.2", "six==1.17.0")
"""What ``vllm bench`` needs beside what ``vllm serve`` does: installed into a temporary folder."""


def questions(count: int) -> list[str]:
    """Made-up questions of some fifty tokens."""
    return [f"Question {number}: " + " ".join(f"{number * 7 + word}" for word in range(12)) for number in range(count)]


def theirs(endpoint: Endpoint, model: Model, texts: list[str], options: argparse.Namespace, folder: Path) -> float:
    """Output tokens/s that ``vllm bench serve`` measures."""
    data, result = folder / "prompts.jsonl", folder / "result.json"
    data.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    arguments = {
        "--backend": "openai-chat",
        "--base-url": endpoint.base_url.removesuffix("/v1"),
        "--endpoint": "/v1/chat/completions",
        "--model": endpoint.model_name,
        "--tokenizer": str(model.weights),
        "--dataset-name": "custom",
        "--dataset-path": str(data),
        "--custom-output-len": str(options.tokens),
        "--num-prompts": str(len(texts)),
        "--max-concurrency": str(options.concurrency),
        "--temperature": "1.0",
        "--extra-body": json.dumps({"seed": 1}),
        "--result-dir": str(folder),
        "--result-filename": result.name,
    }
    flags = ["--ignore-eos", "--skip-chat-template", "--disable-shuffle", "--disable-tqdm", "--save-result"]
    environment = environments.find("vllm-cpu")
    command = environment.command("vllm", "bench", "serve", *(part for pair in arguments.items() for part in pair))
    variables = {
        **environment.variables(),
        "OPENAI_API_KEY": endpoint.api_key,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(folder / "missing"),
    }
    run = subprocess.run([*command, *flags], env=variables, cwd=folder, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    found = json.loads(result.read_text())
    assert found["completed"] == len(texts), f"{found['completed']} of {len(texts)} requests came back"
    return float(found["output_throughput"])


def ours(model: Model, texts: list[str], options: argparse.Namespace) -> float:
    """Output tokens/s of a shard, from the questions to its table, into an empty store."""
    import polars as pl

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = pl.DataFrame({"question_id": [question_id(text) for text in texts], "question": texts})
        table = table.with_columns(metadata=pl.lit("{}"), repeats=pl.lit(1)).sort("question_id")
        asking = Asking(
            model=model,
            store=folder / "store",
            sampling=Sampling(temperature=1.0, max_tokens=options.tokens, ignore_eos=True),
            limits=Limits(concurrency=options.concurrency),
            engine=EngineSettings(accelerator="cpu"),
        )
        began = time.perf_counter()
        complete_shard(prompted(table, Prompt.read(None), 1, 42), asking, folder / "answers.parquet")
        seconds = time.perf_counter() - began
        lengths = pl.read_parquet(folder / "answers.parquet")["completion_tokens"]
        assert lengths.to_list() == [options.tokens] * len(texts), "every answer is as long as was asked for"
        return float(lengths.sum()) / seconds


def main() -> None:
    """Print both sides of each pair, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    texts = questions(options.requests)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install = [
            str(ROOT / ".venv" / "bin" / "uv"),
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--python-version",
            "3.11",
        ]
        subprocess.run([*install, "--target", str(folder / "missing"), *MISSING], check=True)
        fetch(NAME, read_yaml(ROOT / "demo" / "catalog" / "models.yaml")[NAME], None, folder / "model.json")
        model = Model.read(folder / "model.json")
        with engine(model, EngineSettings(accelerator="cpu")) as endpoint:
            served = {"base_url": endpoint.base_url, "api_key": endpoint.api_key, "model_name": endpoint.model_name}
            os.environ["OPENTHOUGHTS_SERVERS"] = json.dumps({model.key_digest(): served})
            for pair in range(options.pairs + 1):
                other, own = theirs(endpoint, model, texts, options, folder), ours(model, texts, options)
                if pair:
                    ratios.append(own / other)
                    print(
                        f"vllm bench serve {other:6.1f} tokens/s, ours {own:6.1f}, ratio {own / other:.3f}", flush=True
                    )
    print(f"median ratio {statistics.median(ratios):.3f} (at least 0.97 is wanted)")


if __name__ == "__main__":
    main()
