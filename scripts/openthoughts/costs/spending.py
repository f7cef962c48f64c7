"""What stages have taken so far: requests, tokens, dollars and hours, from what they left behind."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.models.price import Price
from openthoughts.plan.register import engine_programs, kind_in
from openthoughts.plan.stages import Stage
from openthoughts.store.usage import Usage


@dataclass
class Spent:
    """What some stages took."""

    jobs: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    hours: float = 0.0  # wall time of the jobs one after the other
    gpu_hours: float = 0.0
    failed: int = 0  # requests without an answer
    squared_tokens: float = 0.0  # sum of the squares of the answers' lengths

    @property
    def length_deviation(self) -> float:
        """Standard deviation of the lengths of the answers, in tokens."""
        if self.requests < 2:
            return 0.0
        mean = self.output_tokens / self.requests
        return math.sqrt(max(0.0, self.squared_tokens / self.requests - mean**2))

    def bought(self, share: float) -> Spent:
        """The same with a share of the tokens and dollars: what other stages have asked for is not spent again."""
        tokens = (round(share * self.input_tokens), round(share * self.output_tokens))
        return replace(self, input_tokens=tokens[0], output_tokens=tokens[1], usd=share * self.usd)

    def __iadd__(self, other: Spent) -> Spent:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


def spent(
    folder: Path, usage: Path, price: Mapping[str, Any] | None = None, gpus: float = 0, shards: int | None = None
) -> Spent:
    """What the stage in ``folder`` has taken so far; its finished shards count where the stage is not done.

    ``usage``: the folder of the jobs' measurements; ``price``: the asked model's, in dollars per million tokens;
    ``gpus``: GPUs that a job with an engine holds; ``shards``: how many the plan divides the stage into, null where it
    is one job.
    """
    result = Spent()
    for path, embeds in answer_tables(folder, shards):
        result += _embedded(path) if embeds else _completed(path)
    if price is not None:
        result.usd = Price.model_validate(price).of(result.input_tokens, result.output_tokens)
    engines = engine_programs()
    for rule, seconds in job_seconds(usage, folder.name):
        result += Spent(jobs=1, hours=seconds / 3600, gpu_hours=gpus * seconds / 3600 if rule in engines else 0.0)
    return result


def answer_tables(folder: Path, shards: int | None = None) -> Iterator[tuple[Path, bool]]:
    """The files of a stage's answers, and whether they are embeddings; none where it asks no model.

    Where shards are merged as they are, or one job asked, that is one file. Shards of another division of the stage
    hold the same answers and are left out.
    """
    kind = kind_in(folder.parent.name)
    for asks in kind.asks if kind else ():
        if (whole := folder / asks.file).is_file():
            yield whole, asks.embeds
        elif asks.folder is not None:
            for path in sorted(folder.glob(f"{asks.folder}/*-of-{shards}.parquet")):
                yield path, asks.embeds


def _completed(path: Path) -> Spent:
    """Requests and tokens of a table of completions."""
    columns = [pl.col(name).sum() for name in ("prompt_tokens", "completion_tokens")]
    squares = pl.col("completion_tokens").cast(pl.Float64).pow(2).sum().alias("squares")
    counted = pl.scan_parquet(path, glob=False).select(pl.len(), *columns, pl.col("error").count(), squares)
    requests, asked, answered, failed, squared = counted.collect().row(0)
    return Spent(requests=requests, input_tokens=asked, output_tokens=answered, failed=failed, squared_tokens=squared)


def _embedded(path: Path) -> Spent:
    """Requests and tokens of embeddings, as their job noted them beside what it made of them."""
    took = Usage.of(path)
    return Spent(requests=took.requests, input_tokens=took.input_tokens, failed=took.failed)


def job_seconds(usage: Path, identity: str) -> Iterator[tuple[str, float]]:
    """Rule and wall time of every measured job of a stage."""
    for pattern in (f"*/{identity}.jsonl", f"*/{identity}/*.jsonl"):
        for path in sorted(usage.glob(pattern)):
            rule = path.relative_to(usage).parts[0]
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    yield rule, float(json.loads(line)["s"])


def price_of(stage: Stage) -> Mapping[str, Any] | None:
    """The catalog's price of the hosted model that a stage asks; null for a local one, or where it has none."""
    if "model" not in stage.inputs:
        return None
    price: Mapping[str, Any] | None = stage.input("model").execution.get("price")
    return price
