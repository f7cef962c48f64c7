"""The dataset: every domain's questions and answers as one shuffled ShareGPT table, with its card and counts.

The shuffle is by a keyed hash of (seed, domain, question, sample): growing or changing one domain leaves the order of
all other rows as it was, and a head of the file is a sample of every domain. It is done on disk, in buckets of the
hash, so that a dataset many times larger than memory is assembled.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from openthoughts.answers.filtering import FILTERED
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash
from openthoughts.base.reasoning import without_answer
from openthoughts.base.streams import TableWriter, read_batches
from openthoughts.base.tables import DATASET, DRAWN, MEASURES, Schema, read_table, scan_table

BUCKET_BYTES = 128 << 20
"""Aimed-at size of a bucket of the shuffle in memory."""
MAX_BUCKETS = 512

_RANK = "rank"


@dataclass(frozen=True)
class DomainPart:
    """One domain of a dataset: its drawn questions, its filtered answers, what was measured of all answers, and
    whether its label is a difficulty."""

    name: str
    questions: Path
    answers: Path
    measured: Path
    difficulty: bool = False


def assemble(parts: Sequence[DomainPart], seed: int, output: Path) -> pl.DataFrame:
    """Write the dataset (DATASET and what was measured of the answers) and return its counts.

    The counts have a row for each domain and source: ``domain``, ``source``, ``questions``, ``rows``, ``tokens`` (of
    the answers) and ``truncated`` (answers cut by the token limit). Raises ``UserError`` where no answer is left.
    """
    schema = dataset_schema()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        counts = _Counts()
        buckets = _scatter(parts, seed, schema, Path(folder), counts)
        with TableWriter(output, schema) as writer:
            for bucket in buckets:
                writer.write(pl.read_ipc(bucket).sort(_RANK, "domain", "question_id", "sample"))
                bucket.unlink()
            if not writer.rows:
                raise UserError("no answer is left to assemble: loosen the answer filter or draw more questions.")
            logging.info("assembled %d rows, %d of them without thinking", writer.rows, counts.without_thinking)
    return counts.table()


MEASURED_COLUMNS = (
    "majority_answer", "agreement", "ties", "pass_rate", "difficulty_from_answers", "correct", "truncated",
    "prompt_tokens", "completion_tokens",
)  # fmt: skip
"""Columns of MEASURES that stand in the dataset."""


def dataset_schema() -> Schema:
    """DATASET and what was measured of the answers."""
    return {**DATASET, **{name: MEASURES[name] for name in MEASURED_COLUMNS}}


def _scatter(parts: Sequence[DomainPart], seed: int, schema: Schema, folder: Path, counts: _Counts) -> list[Path]:
    """Write each row to the bucket of its rank; the buckets are contiguous ranges of the rank, in order."""
    bits = _bucket_bits(part.answers for part in parts)
    arrow_schema = pl.DataFrame(schema={_RANK: pl.UInt64, **schema}).to_arrow().schema
    compressed = pa.ipc.IpcWriteOptions(compression="zstd")
    paths = [folder / f"{number}.arrow" for number in range(1 << bits)]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_file(stack.enter_context(path.open("wb")), arrow_schema, options=compressed))
            for path in paths
        ]
        for rows in _rows(parts, seed, schema, counts):
            bucket = pl.lit(0) if bits == 0 else pl.col(_RANK) // (1 << (64 - bits))
            for (number,), piece in rows.with_columns(bucket=bucket).group_by("bucket"):
                writers[int(str(number))].write_table(piece.drop("bucket").to_arrow().cast(arrow_schema))
    return paths


def _bucket_bits(paths: Iterable[Path]) -> int:
    """The power of two of the number of buckets, by the uncompressed size of the answers."""
    size = 0
    for path in paths:
        metadata = pq.read_metadata(path)
        size += sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    buckets = min(MAX_BUCKETS, -(-size // BUCKET_BYTES))
    return max(0, buckets - 1).bit_length()


def _rows(parts: Sequence[DomainPart], seed: int, schema: Schema, counts: _Counts) -> Iterator[pl.DataFrame]:
    """The dataset's rows (``schema`` and their rank), unshuffled, in batches."""
    for part in parts:
        drawn = read_table(part.questions, DRAWN, ("question_id", "occurrence", "question", "source", "label"))
        counted = ("prompt_tokens", "completion_tokens")
        names = [name for name in MEASURED_COLUMNS if name not in counted]
        measured = scan_table(part.measured, MEASURES).select("question_id", "sample", *names).collect()
        for answers in read_batches(part.answers, FILTERED):
            joined = answers.join(drawn, on=["question_id", "occurrence"], how="left", maintain_order="left")
            if joined["question"].null_count():
                raise UserError(
                    f"{part.answers} has answers to questions that {part.questions} lacks: filter them again."
                )
            empty = joined.filter(without_answer(pl.col("text"), pl.col("finish_reason"))).height
            if empty:
                raise UserError(
                    f"{part.answers} has {empty} empty answers, which an earlier version kept: delete its folder, "
                    "then run again to drop them."
                )
            joined = joined.join(measured, on=["question_id", "sample"], how="left", maintain_order="left")
            rows = joined.with_columns(domain=pl.lit(part.name))
            counts.add(rows)
            counts.without_thinking += rows.filter(~pl.col("text").str.contains(THINKING)).height
            difficulty = pl.col("label").round().cast(pl.Int64) if part.difficulty else pl.lit(None, pl.Int64)
            rows = rows.with_columns(_ranks(rows, seed, part.name), difficulty=difficulty, conversations=_CONVERSATIONS)
            columns = [pl.col(name).cast(dtype) for name, dtype in schema.items()]
            yield rows.select(_RANK, *columns)


_CONVERSATIONS = pl.concat_list(
    pl.struct(pl.lit("human").alias("from"), pl.col("question").alias("value")),
    pl.struct(pl.lit("gpt").alias("from"), pl.col("text").alias("value")),
)


def _ranks(rows: pl.DataFrame, seed: int, domain: str) -> pl.Series:
    keys = rows.select("question_id", "sample").iter_rows()
    ranks = [keyed_hash(seed, question, sample, f"dataset {domain}") for question, sample in keys]
    return pl.Series(_RANK, ranks, dtype=pl.UInt64)


THINKING = "</?think>"
"""What an answer with thinking has in it."""


class _Counts:
    """Counts by domain and source, collected while the rows go by."""

    def __init__(self) -> None:
        self._pieces: list[pl.DataFrame] = []
        self.without_thinking = 0

    def add(self, rows: pl.DataFrame) -> None:
        by_question = rows.group_by("domain", "source", "question_id").agg(
            rows=pl.len(),
            tokens=pl.col("completion_tokens").sum(),
            truncated=(pl.col("finish_reason") == "length").sum(),
        )
        self._pieces.append(by_question)

    def table(self) -> pl.DataFrame:
        numbers = [pl.col(name).sum().cast(pl.Int64) for name in ("rows", "tokens", "truncated")]
        counts = pl.concat(self._pieces).group_by("domain", "source")
        return counts.agg(pl.col("question_id").n_unique().cast(pl.Int64).alias("questions"), *numbers).sort(
            "domain", "source"
        )


def dataset_info(file_name: str) -> dict[str, Any]:
    """What LLaMA-Factory's ``dataset_info.json`` says of the dataset, under the name ``dataset``."""
    return {
        "dataset": {
            "file_name": file_name,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
            "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"},
        }
    }


def counts_summary(counts: pl.DataFrame, licences: Mapping[str, str]) -> dict[str, Any]:
    """The counts as nested JSON: in all, by domain, and by source with its licence (null where none is known)."""
    domains: dict[str, Any] = {}
    for row in counts.iter_rows(named=True):
        domain = domains.setdefault(row["domain"], {**_totals(counts.filter(pl.col("domain") == row["domain"]))})
        source = {name: row[name] for name in ("questions", "rows", "tokens", "truncated")}
        domain.setdefault("sources", {})[row["source"]] = {**source, "licence": licences.get(row["source"])}
    return {**_totals(counts), "domains": domains}


def _totals(counts: pl.DataFrame) -> dict[str, int]:
    return {name: int(counts[name].sum()) for name in ("rows", "tokens", "truncated")}


def dataset_card(recipe: str, counts: pl.DataFrame, licences: Mapping[str, str]) -> str:
    """The dataset's README: front matter of the hub, counts by domain and source with licences, and the columns."""
    total = int(counts["rows"].sum())
    front = {
        "pretty_name": recipe,
        "license": _one_licence(counts["source"].unique().to_list(), licences),
        "task_categories": ["text-generation"],
        "tags": ["reasoning", *counts["domain"].unique().sort().to_list()],
        "size_categories": [size_category(total)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "dataset.parquet"}]}],
    }
    header = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())
    lines = [
        "| domain | source | licence | questions | rows | answer tokens | cut by the token limit |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for row in counts.iter_rows(named=True):
        licence = licences.get(row["source"], "unknown")
        numbers = " | ".join(f"{row[name]:,}" for name in ("questions", "rows", "tokens", "truncated"))
        lines.append(f"| {row['domain']} | {row['source']} | {licence} | {numbers} |")
    table = "\n".join(lines)
    return f"""---
{header}
---

# {recipe}

{total:,} rows of reasoning data: a question, and one answer of a teacher model with its reasoning. The rows are
shuffled, so a head of the file is a sample of every domain. Answers were not checked against a reference unless the
recipe's answer filter did so.

## Sources

{table}

The questions keep the licences of their sources.

## Columns

- `conversations`: the question (`from: human`) and the answer (`from: gpt`), in ShareGPT form
- `domain`, `source`: where the question comes from
- `difficulty`: its difficulty from 1 to 10 as graded by a language model; null where the recipe did not grade it
- `question_id`: 32 hex digits of the BLAKE2b hash of the question's text; equal questions share it
- `sample`: number of the answer among the answers to this question

What all answers to the question say together, those that a filter dropped too:

- `majority_answer`, `agreement`, `ties`: the final answer most often given (by mathematical equality), the share of the
  answers that agree with it, and how many different answers are equally frequent (more than 1 is a tie); programs are
  compared by what they do in the question's tests, and then there is no majority answer to show
- `pass_rate`: the share of the answers that are right; null where the question has no reference and no tests
- `difficulty_from_answers`: 1 - `pass_rate`, else 1 - `agreement`
- `correct`: whether this answer is right (1 or 0); null where that is not known
- `truncated`: whether this answer was cut by the token limit
- `prompt_tokens`, `completion_tokens`: its tokens as the teacher's server counted them
"""


def _one_licence(sources: Sequence[str], licences: Mapping[str, str]) -> str:
    """The hub's licence tag: the sources' licence where all share one, else ``other``."""
    names = {licences.get(source, "unknown") for source in sources}
    only = names.pop().lower() if len(names) == 1 else "other"
    return only if only != "unknown" else "other"


def size_category(rows: int) -> str:
    """The hub's size category of a number of rows."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
    return next((name for bound, name in bounds if rows < bound), "10M<n<100M")
