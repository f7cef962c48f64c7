"""Reading the completion store: its files, and the rows that count of a range of questions."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.tables import Schema
from openthoughts.store.journal import segments
from openthoughts.store.leases import is_present
from openthoughts.store.rows import FIRST, FORGOTTEN, ROWS, first_of_key, rank

FORMAT = 1


class StoreReader:
    """A store as one process sees it: what others have committed since the last ``refresh`` is not there yet."""

    def __init__(self, folder: Path | str) -> None:
        """Raises ``UserError`` where the folder cannot be used as a store, or is one of a newer format."""
        self.folder = Path(folder)
        self.table_folder = self.folder / "completions"
        self.journal_folder = self.folder / "journals"
        self.writer_folder = self.folder / "writers"
        self._files: pl.DataFrame | None = None
        self._check_format()

    def _check_format(self) -> None:
        path = self.folder / "store.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                temporary = path.with_name(f".store.{time.time_ns()}.tmp")
                temporary.write_text(json.dumps({"format": FORMAT}) + "\n")
                temporary.replace(path)
            found = json.loads(path.read_text()).get("format")
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{self.folder} cannot be used as a completion store ({error}).") from error
        if not isinstance(found, int) or not 1 <= found <= FORMAT:
            raise UserError(
                f"{self.folder} is a store of format {found}, this version reads up to {FORMAT}: use a newer version."
            )

    def refresh(self) -> None:
        """See what others have committed since the last look."""
        self._files = None

    def files(self) -> pl.DataFrame:
        """The table's files: path, partition.model_id, partition.bucket, min.question_id, max.question_id, sizes."""
        files = self._files  # another thread may refresh
        if files is None:
            from deltalake import DeltaTable

            if not DeltaTable.is_deltatable(str(self.table_folder)):
                return pl.DataFrame(schema={"path": pl.String, "partition.model_id": pl.String})
            files = self._files = pl.DataFrame(DeltaTable(self.table_folder).get_add_actions(flatten=True))
        return files

    def scan(self, model_id: str, first: str = "", last: str = "g") -> pl.LazyFrame | None:
        """The rows of a model whose question ids lie in [first, last]; None where no file can hold any.

        The partition columns are not among the columns.
        """
        files = self.files()
        if not files.is_empty():
            files = files.filter(pl.col("partition.model_id") == model_id)
        if not files.is_empty():
            files = files.filter(
                (pl.col("max.question_id").str.slice(0, 8) >= first[:8])
                & (pl.col("min.question_id").str.slice(0, 8) <= last[:8])
            )
        if files.is_empty():
            return None
        return self._rows_of(files).filter(pl.col("question_id").is_between(pl.lit(first), pl.lit(last)))

    def _rows_of(self, files: pl.DataFrame) -> pl.LazyFrame:
        """The rows of some files, without the partition columns."""
        paths = [self.table_folder / path for path in files.get_column("path").sort()]
        schema = {name: dtype for name, dtype in ROWS.items() if name not in ("model_id", "bucket")}
        return pl.scan_parquet(
            paths,
            glob=False,
            hive_partitioning=False,
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
        )

    def answered_since(self, when: float) -> dict[str, tuple[int, float]]:
        """Name of each model -> answers of it since a time to clients that are alive, and when the first of them came.

        Times are in seconds since 1970. Failures and what was forgotten are no answers. What is not yet folded is not
        there. Files written before are not read.
        """
        files = self.files()
        if not files.is_empty():
            files = files.filter(pl.col("modification_time").dt.epoch("ms") >= int(1000 * when))
        if files.is_empty():
            return {}
        lately = self._rows_of(files).filter(
            pl.col("answered_at") >= int(1e6 * when),
            pl.col("error").is_null(),
            ~pl.col("key").str.starts_with(FORGOTTEN),
        )
        of_writer = lately.group_by("model", "writer").agg(pl.col("key").n_unique(), pl.col("answered_at").min() / 1e6)
        found: dict[str, tuple[int, float]] = {}
        for name, writer, count, first in of_writer.collect().iter_rows():
            if writer is not None and is_present(self.writer_folder, writer):
                before, earliest = found.get(name, (0, first))
                found[name] = (before + count, min(earliest, first))
        return found

    def writers_of(self, model_id: str) -> set[str]:
        """The writers, alive or dead, that have rows of a model in the table."""
        rows = self.scan(model_id)
        if rows is None:
            return set()
        return set(rows.select(pl.col("writer").drop_nulls().unique()).collect().get_column("writer"))

    def index(self, model_id: str, first: str, last: str) -> pl.DataFrame:
        """What is there for a range of questions, without the texts: key, failed, size. One row per key."""
        schema: Schema = {"key": pl.String, "failed": pl.Boolean, "size": pl.Int64}
        rows = self.scan(model_id, first, last)
        if rows is None:
            return pl.DataFrame(schema=dict(schema))
        return first_of_key(rows.select("key", "size", *rank())).select(*schema)

    def has(self, model_id: str, keys: Sequence[str]) -> list[str]:
        """Which of the keys are there."""
        rows = self.scan(model_id)
        if rows is None:
            return []
        wanted = pl.LazyFrame({"key": keys}, schema={"key": pl.String})
        return rows.select("key").join(wanted, on="key", how="semi").unique().collect().get_column("key").to_list()

    def keys(self, model_id: str) -> pl.DataFrame:
        """What is there of a model: key, question_id, sample, size. One row per key."""
        rows = self.scan(model_id)
        columns = ("key", "question_id", "sample", "size")
        if rows is None:
            return pl.DataFrame(schema={name: ROWS[name] for name in columns})
        known = rows.filter(~pl.col("key").str.starts_with(FORGOTTEN))
        return first_of_key(known.select(*columns, *rank())).select(columns)

    def read(self, model_id: str, keys: pl.DataFrame, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of the wanted keys (columns key, question_id): some columns, or all but those of the partition."""
        names = columns or [name for name in ROWS if name not in ("model_id", "bucket")]
        ids = keys.get_column("question_id")
        rows = None if keys.is_empty() else self.scan(model_id, str(ids.min()), str(ids.max()))
        if rows is None:
            return pl.DataFrame(schema={name: ROWS[name] for name in names})
        wanted = rows.join(keys.lazy().select("key").unique(), on="key", how="semi")
        needed = [name for name in ROWS if name in {*names, *FIRST, "key", "error"}]
        return first_of_key(wanted.select(needed).with_columns(*rank())).select(names)

    def models(self) -> list[tuple[str, str]]:
        """The models of the store: partition and name, ordered. A partition may bear several names."""
        found = set()
        for model_id in sorted(set(self.files().get_column("partition.model_id"))):
            rows = self.scan(model_id)
            if rows is not None:
                found |= {(model_id, name) for name in rows.select(pl.col("model").unique()).collect()["model"]}
        return sorted(found)

    def statistics(self) -> pl.DataFrame:
        """The store, one row per model: model, answers, failures, repeats, tokens, dollars, bytes of text."""
        tables = []
        for model_id in sorted(set(self.files().get_column("partition.model_id"))):
            rows = self.scan(model_id)
            if rows is None:
                continue
            light = rows.select("model", "key", "prompt_tokens", "completion_tokens", "usd", "size", *rank())
            everything = light.collect()
            first = first_of_key(everything.lazy().filter(~pl.col("key").str.starts_with(FORGOTTEN)))
            tables.append(
                first.group_by("model")
                .agg(
                    answers=(~pl.col("failed")).sum(),
                    failures=pl.col("failed").sum(),
                    prompt_tokens=pl.col("prompt_tokens").sum(),
                    completion_tokens=pl.col("completion_tokens").sum(),
                    text_bytes=pl.col("size").sum(),
                )
                .join(
                    everything.group_by("model").agg(rows=pl.len().cast(pl.Int64), usd=pl.col("usd").sum()),
                    on="model",
                    how="right",
                    coalesce=True,
                )
                .with_columns(pl.exclude("model", "usd").fill_null(0))
                .with_columns(model_id=pl.lit(model_id))
            )
        return pl.concat(tables).sort("model", "model_id") if tables else pl.DataFrame(schema={"model": pl.String})

    def dollars(self, of: Sequence[str] | None = None, without: Sequence[str] = ()) -> float:
        """What the answers in the table cost: those of some writers (all), but for those of others."""
        self.refresh()
        wanted = ~pl.col("writer").is_in(list(without))
        if of is not None:
            wanted &= pl.col("writer").is_in(list(of))
        total = 0.0
        for model_id in set(self.files().get_column("partition.model_id")):
            rows = self.scan(model_id)
            if rows is not None:
                total += rows.filter(wanted).select(pl.col("usd").sum()).collect().item() or 0.0
        return total

    def writers_waiting(self) -> set[str]:
        """Writers, alive or dead, of which a journal is left."""
        return {writer for writer, _, _ in segments(self.journal_folder)} if self.journal_folder.is_dir() else set()

    def waiting(self) -> int:
        """Answers that lie in journals, of writers alive or dead."""
        if not self.journal_folder.is_dir():
            return 0
        return sum(path.read_bytes().count(b"\n") for _, _, path in segments(self.journal_folder))
