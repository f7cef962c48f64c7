"""The completion store: every answer ever had of a model, raw, in a Delta Lake table that many writers append to.

Layout of the folder: ``store.json`` (the format), ``completions/`` (the table, partitioned by model and by the first
hex digit of the question's id, so that a shard, a contiguous range of ids, touches few files), ``journals/`` (answers
not yet in the table), ``leases/`` and ``writers/`` (who is alive and what it holds).

An answer is first appended to the writer's journal and from there folded into the table every ``FOLD_SECONDS``. The
commit carries the journal's segment number as an application transaction of Delta Lake, so a segment is folded once,
whoever folds it and whenever its writer died. Rows are never changed; of several rows of a key reading keeps the first
stored one, and an answer before a failure.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import canonical_json, digest
from openthoughts.base.tables import Schema
from openthoughts.store.journal import Journal, Row, StoreFullError, has_no_space, parse_lines, read_segment, segments
from openthoughts.store.leases import KNOWN_DEAD_SECONDS, RELEASED, Presence, is_present, leased

if TYPE_CHECKING:
    from deltalake import DeltaTable, WriterProperties

FORMAT = 1
FOLD_SECONDS = 60.0
COMMIT_RETRIES = 10_000
"""Delta Lake's default of 15 is too few for eager writers: each lost race costs one."""
ADOPTION_SECONDS = 600.0
"""How long a dead writer's journal is waited for while another process folds it."""
COMPACT_BYTES = 256 * 2**20
"""Size of a compacted file."""
PART_ROWS = 1000
"""Rows of a journal that are Python's objects at a time."""
BLOCK_BYTES = 32 * 2**20
"""Text read at a time."""
ROW_BYTES = 1024
"""What a row weighs beside its text."""

ROWS: Schema = {
    "key": pl.String,  # what was asked: digest of model, messages, sampling, response schema, sample and seed
    "model_id": pl.String,  # partition: readable part of the model's identity and a digest of its key
    "bucket": pl.String,  # partition: first hex digit of question_id
    "model": pl.String,  # the model's name when it was asked
    "question_id": pl.String,
    "sample": pl.Int64,
    "seed": pl.Int64,
    "text": pl.String,  # the content as it came; null with an error
    "reasoning": pl.String,  # what the server split off as reasoning; null where it split nothing
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "error": pl.String,  # why there is no text and never will be
    "size": pl.Int64,  # bytes of text and reasoning
    "usd": pl.Float64,  # price of the answer where the model has one
    "request": pl.String,  # JSON: sampling settings, digest of the messages, name of the response schema
    "response": pl.String,  # JSON: id, model, system_fingerprint and usage as the server gave them
    "answered_at": pl.Int64,  # microseconds since 1970
    "stored_at": pl.Int64,  # microseconds since 1970, when folded into the table
    "writer": pl.String,
}

FIRST = ["failed", "stored_at", "answered_at", "writer"]
"""Of several rows of a key, the smallest in these columns counts."""

log = logging.getLogger(__name__)


def model_partition(key: Mapping[str, Any]) -> str:
    """The ``model_id`` of a model's canonical key: part of its identity, to be read by people, and a digest."""
    identity = str(key.get("identity", "model"))
    readable = "".join(character if character.isalnum() or character in "._-" else "-" for character in identity)
    return f"{readable[:48]}-{digest(key, 12)}"


class Store:
    """One process' view of a store; a context manager, whose end folds what was appended.

    ``append`` and ``rotate`` belong to one thread; everything else may be called from any.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._presence: Presence | None = None
        self._former: list[Presence] = []
        self._journal: Journal | None = None
        self._table_to_write: DeltaTable | None = None
        self._committing = threading.Lock()
        self._files: pl.DataFrame | None = None
        self._check_format()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except Exception as error:
            if kind is None:
                raise
            log.warning("what was answered stays in the journal, for the next run to fold (%s)", error)

    # ---------------------------------------------------------------- the folder

    @property
    def _table_path(self) -> Path:
        return self.folder / "completions"

    @property
    def _journals(self) -> Path:
        return self.folder / "journals"

    @property
    def _writers(self) -> Path:
        return self.folder / "writers"

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

    def _present(self) -> Presence:
        if self._presence is None:
            self._presence = Presence(self._writers)
        return self._presence

    @property
    def writer(self) -> str:
        """The name under which this process is present and writes."""
        return self._present().name

    @contextmanager
    def lease(self, name: str, wait: float) -> Iterator[bool]:
        """Hold the lease on ``name``, waiting up to ``wait`` seconds; yields whether it was had."""
        holder = self._present().name
        with leased(self.folder / "leases", name, self._writers, holder, wait) as had:
            yield had

    @contextmanager
    def sharing(self, name: str) -> Iterator[Callable[[], int]]:
        """Share ``name`` with other processes; yields a function that counts those that do, this one among them."""
        folder = self.folder / "shared" / name
        folder.mkdir(parents=True, exist_ok=True)
        mine = folder / self.writer
        mine.touch()

        def count() -> int:
            others = [path for path in folder.iterdir() if path != mine]
            gone = [path for path in others if not is_present(self._writers, path.name)]
            for path in gone:
                path.unlink(missing_ok=True)
            return 1 + len(others) - len(gone)

        try:
            yield count
        finally:
            mine.unlink(missing_ok=True)

    # ---------------------------------------------------------------- writing

    def append(self, row: Row) -> None:
        """Write one answer to the journal (columns of ``ROWS``; what is derived may be left out)."""
        if self._journal is None:
            self._journal = Journal(self._journals, self._present().name)
        try:
            self._journal.append(row)
        except OSError:
            if not self._journal.is_lost():
                raise
            self._journal = self._move_journal(self._journal)
            self._journal.append(row)

    @property
    def unfolded_bytes(self) -> int:
        """Size of the open segment of the journal."""
        return self._journal.size if self._journal else 0

    @property
    def is_cut_off(self) -> bool:
        """Whether this process was taken for dead and its journal folded by another: what it writes there is lost."""
        return self._journal is not None and self._journal.is_lost()

    def rotate(self) -> tuple[str, int, list[bytes]] | None:
        """Close the journal's segment for ``commit_lines``; None where there is nothing to fold."""
        journal = self._journal
        if journal is None or not journal.lines:
            return None
        if journal.is_lost():
            journal = self._move_journal(journal)
        segment, lines = journal.rotate()
        return journal.writer, segment, lines

    def _move_journal(self, lost: Journal) -> Journal:
        """Go on under a new name after another process took this one for dead and folded its journal."""
        log.warning("the journal of this writer was taken over while it could not be reached: starting a new one")
        if self._presence is not None:
            self._former.append(self._presence)  # it still holds this writer's leases
            self._presence = None
        self._journal = journal = Journal(self._journals, self._present().name)
        for line in lost.lines:
            journal.append_line(line)
        with suppress(OSError):
            lost.close()
        return journal

    def commit_lines(self, writer: str, segment: int, lines: Sequence[bytes]) -> None:
        """``commit`` for what ``rotate`` gave."""
        parts = (parse_lines(lines[start : start + PART_ROWS]) for start in range(0, len(lines), PART_ROWS))
        table = _table_rows(parts, writer)
        with self._committing:
            self._commit_in_order(writer, segment, table)

    def commit(self, writer: str, segment: int, rows: Sequence[Row]) -> None:
        """Fold one closed segment into the table, once, and remove it."""
        with self._committing:
            self._commit_in_order(writer, segment, _table_rows([rows], writer))

    def _commit_in_order(self, writer: str, segment: int, table: pl.DataFrame) -> None:
        """Fold a segment after those before it that could not be folded: the table knows the last one's number only."""
        for name, earlier, path in segments(self._journals):
            if name == writer and earlier < segment:
                self._commit(writer, earlier, _table_rows([read_segment(path)], writer))
        self._commit(writer, segment, table)

    def _commit(self, writer: str, segment: int, table: pl.DataFrame) -> None:
        from deltalake.exceptions import DeltaError

        try:
            if not table.is_empty():
                self._write_once(writer, segment, table)
        except (OSError, DeltaError) as error:
            if has_no_space(self.folder):  # Delta Lake's errors do not say so
                raise StoreFullError(self.folder) from error
            raise
        (self._journals / f"{writer}.{segment:06d}.jsonl").unlink(missing_ok=True)

    def _write_once(self, writer: str, segment: int, rows: pl.DataFrame) -> None:
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError

        table = self._table_to_write = self._table_to_write or self._open_table()
        while (table.transaction_version(writer) or 0) < segment:
            try:
                write_deltalake(
                    table,
                    rows,
                    mode="append",
                    writer_properties=_writer_properties(),
                    commit_properties=CommitProperties(
                        max_commit_retries=COMMIT_RETRIES, app_transactions=[Transaction(writer, segment)]
                    ),
                )
                return
            except CommitFailedError as error:
                if "oncurrent transaction" not in str(error):
                    raise
                table = self._table_to_write = self._open_table()

    def fold(self) -> int:
        """Fold everything appended so far into the table; how many rows that was."""
        closed = self.rotate()
        if closed is None:
            return 0
        self.commit_lines(*closed)
        return len(closed[2])

    def adopt_orphans(self) -> int:
        """Fold the journals that dead writers left; how many rows they held.

        A journal that another process folds just now is waited for: its answers are not in the table yet, and who
        looked for them would ask for them again. Raises ``UserError`` where that takes very long.
        """
        if not self._journals.is_dir():
            return 0
        mine = self._presence.name if self._presence else None
        orphans = {writer for writer, _, _ in segments(self._journals) if writer != mine}
        folded = 0
        for writer in sorted(orphans):
            if is_present(self._writers, writer):
                continue
            with self.lease(f"journal-{writer}", wait=ADOPTION_SECONDS) as had:
                if not had:
                    raise UserError(
                        f"another process is folding the journal {writer} of {self.folder} for {ADOPTION_SECONDS:.0f} "
                        "s: see what holds it up, then run again."
                    )
                for name, segment, path in list(segments(self._journals)):
                    if name == writer:
                        with suppress(FileNotFoundError):
                            rows = read_segment(path)
                            self.commit(writer, segment, rows)
                            folded += len(rows)
                (self._writers / f"{writer}.json").unlink(missing_ok=True)
        if folded:
            log.info("took over %d answers from the journals of writers that died", folded)
        return folded

    def close(self) -> None:
        """Fold what is left and stop being present. What cannot be folded stays in the journal for the next comer."""
        try:
            self.fold()
        finally:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            for presence in [*self._former, *([self._presence] if self._presence else [])]:
                presence.close()
            self._former, self._presence = [], None

    def _open_table(self) -> DeltaTable:
        """The table, made if there is none: by one writer alone, as those that append meanwhile would conflict."""
        from deltalake import DeltaTable, Field, Schema
        from deltalake.schema import PrimitiveType

        if DeltaTable.is_deltatable(str(self._table_path)):
            return DeltaTable(self._table_path)
        names = {"String": "string", "Int64": "long", "Float64": "double"}
        with self.lease("table", wait=KNOWN_DEAD_SECONDS) as had:
            if not had:
                raise UserError(f"the table of {self.folder} is being made by another process: run again.")
            return DeltaTable.create(
                self._table_path,
                schema=Schema([Field(name, PrimitiveType(names[str(dtype)])) for name, dtype in ROWS.items()]),
                mode="ignore",
                partition_by=["model_id", "bucket"],
                configuration={"delta.dataSkippingStatsColumns": "question_id,sample"},
            )

    # ---------------------------------------------------------------- reading

    def refresh(self) -> None:
        """See what others have committed since the last look."""
        self._files = None

    def files(self) -> pl.DataFrame:
        """The table's files: path, partition.model_id, partition.bucket, min.question_id, max.question_id, sizes."""
        files = self._files  # another thread may refresh
        if files is None:
            from deltalake import DeltaTable

            if not DeltaTable.is_deltatable(str(self._table_path)):
                return pl.DataFrame(schema={"path": pl.String, "partition.model_id": pl.String})
            files = self._files = pl.DataFrame(DeltaTable(self._table_path).get_add_actions(flatten=True))
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
        paths = [self._table_path / path for path in files.get_column("path").sort()]
        schema = {name: dtype for name, dtype in ROWS.items() if name not in ("model_id", "bucket")}
        return pl.scan_parquet(
            paths,
            glob=False,
            hive_partitioning=False,
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
        ).filter(pl.col("question_id").is_between(pl.lit(first), pl.lit(last)))

    def index(self, model_id: str, first: str, last: str) -> pl.DataFrame:
        """What is there for a range of questions, without the texts: key, failed, size. One row a key."""
        schema: Schema = {"key": pl.String, "failed": pl.Boolean, "size": pl.Int64}
        rows = self.scan(model_id, first, last)
        if rows is None:
            return pl.DataFrame(schema=dict(schema))
        return _first_of_key(rows.select("key", "size", *_rank())).select(*schema)

    def has(self, model_id: str, keys: Sequence[str]) -> list[str]:
        """Which of the keys are there."""
        rows = self.scan(model_id)
        if rows is None:
            return []
        wanted = pl.LazyFrame({"key": keys}, schema={"key": pl.String})
        return rows.select("key").join(wanted, on="key", how="semi").unique().collect().get_column("key").to_list()

    def keys(self, model_id: str) -> pl.DataFrame:
        """What is there of a model: key, question_id, sample, size. One row a key."""
        rows = self.scan(model_id)
        columns = ("key", "question_id", "sample", "size")
        if rows is None:
            return pl.DataFrame(schema={name: ROWS[name] for name in columns})
        return _first_of_key(rows.select(*columns, *_rank())).select(columns)

    def read(self, model_id: str, keys: pl.DataFrame, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of the wanted keys (columns key, question_id): some columns, or all but those of the partition."""
        names = columns or [name for name in ROWS if name not in ("model_id", "bucket")]
        ids = keys.get_column("question_id")
        rows = None if keys.is_empty() else self.scan(model_id, str(ids.min()), str(ids.max()))
        if rows is None:
            return pl.DataFrame(schema={name: ROWS[name] for name in names})
        wanted = rows.join(keys.lazy().select("key").unique(), on="key", how="semi")
        needed = [name for name in ROWS if name in {*names, *FIRST, "key", "error"}]
        return _first_of_key(wanted.select(needed).with_columns(*_rank())).select(names)

    def models(self) -> list[tuple[str, str]]:
        """The models of the store: partition and name, ordered. A partition may bear several names."""
        found = set()
        for model_id in sorted(set(self.files().get_column("partition.model_id"))):
            rows = self.scan(model_id)
            if rows is not None:
                found |= {(model_id, name) for name in rows.select(pl.col("model").unique()).collect()["model"]}
        return sorted(found)

    def statistics(self) -> pl.DataFrame:
        """What the store holds, a row a model: model, answers, failures, repeats, tokens, dollars, bytes of text."""
        tables = []
        for model_id in sorted(set(self.files().get_column("partition.model_id"))):
            rows = self.scan(model_id)
            if rows is None:
                continue
            light = rows.select("model", "key", "prompt_tokens", "completion_tokens", "usd", "size", *_rank())
            everything = light.collect()
            first = _first_of_key(everything.lazy())
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
                    how="left",
                )
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
        return {writer for writer, _, _ in segments(self._journals)} if self._journals.is_dir() else set()

    def waiting(self) -> int:
        """Answers that lie in journals, of writers alive or dead."""
        if not self._journals.is_dir():
            return 0
        return sum(path.read_bytes().count(b"\n") for _, _, path in segments(self._journals))

    # ---------------------------------------------------------------- housekeeping

    def compact(self, keep_hours: int) -> None:
        """Rewrite the files of every partition that has many as few, ordered by question; clear away what is unused.

        Replaced files stay for ``keep_hours``, for those that still read them. Raises ``UserError`` where that is less
        than a day and somebody else uses the store, or where another process compacts it.
        """
        from deltalake import CommitProperties, DeltaTable

        self.adopt_orphans()
        others = [path.stem for path in self._writers.glob("*.json") if path.stem != self._present().name]
        if keep_hours < 24 and any(is_present(self._writers, other) for other in others):
            raise UserError(f"{self.folder} is in use: wait until its writers end, or keep replaced files for a day.")
        with self.lease("compaction", wait=0) as had:
            if not had:
                raise UserError(f"{self.folder} is being compacted by another process: wait until it ends.")
            self.refresh()
            files = self.files()
            before = files.height
            if not files.is_empty():
                table = DeltaTable(self._table_path)
                for model_id, bucket in _scattered(files).iter_rows():
                    table.optimize.z_order(
                        ["question_id"],
                        partition_filters=[("model_id", "=", model_id), ("bucket", "=", bucket)],
                        target_size=COMPACT_BYTES,
                        writer_properties=_writer_properties(),
                        commit_properties=CommitProperties(max_commit_retries=COMMIT_RETRIES),
                    )
                table.create_checkpoint()
                table.vacuum(retention_hours=keep_hours, dry_run=False, enforce_retention_duration=False)
            self._clear_away()
            self.refresh()
        log.info("%s: %d files, %d before", self.folder, self.files().height, before)

    def _clear_away(self) -> None:
        """Remove leases given back, and writers gone, more than a day ago."""
        yesterday = time.time() - 86_400
        for path in [*self._writers.glob("*.json"), *(self.folder / "leases").glob("*.[0-9]*")]:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime > yesterday:
                    continue
                owner = path.stem if path.suffix == ".json" else path.read_text()
                if owner == RELEASED or not is_present(self._writers, owner):
                    path.unlink()


def _writer_properties() -> WriterProperties:
    """Small row groups, so that a shard decodes no more of a large file than its range."""
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", statistics_truncate_length=64, max_row_group_size=1024)


def _scattered(files: pl.DataFrame) -> pl.DataFrame:
    """The partitions (model_id, bucket) that lie in more than twice the files that they need."""
    needed = 1 + pl.col("size_bytes").sum().floordiv(COMPACT_BYTES)
    return (
        files.group_by("partition.model_id", "partition.bucket")
        .agg(scattered=pl.len() > 2 * needed)
        .filter("scattered")
        .drop("scattered")
        .sort("partition.model_id", "partition.bucket")
    )


def _rank() -> list[pl.Expr]:
    return [pl.col("error").is_not_null().alias("failed"), *[pl.col(name) for name in FIRST if name != "failed"]]


def _first_of_key(rows: pl.LazyFrame) -> pl.DataFrame:
    return rows.collect().sort(*FIRST).unique("key", keep="first", maintain_order=True)


def _table_rows(parts: Iterable[Sequence[Row]], writer: str) -> pl.DataFrame:
    """Journal rows as rows of the table, ordered so that a file's rows of one question lie together.

    They come part by part, because as Python's objects they take several times the space of the table.
    """
    now = time.time_ns() // 1000
    schema = dict(ROWS)
    tables = [pl.DataFrame([[row.get(name) for name in ROWS] for row in part], schema, orient="row") for part in parts]
    return (
        pl.concat(tables or [pl.DataFrame(schema=schema)])
        .with_columns(
            bucket=pl.col("question_id").str.slice(0, 1),
            size=pl.col("text").str.len_bytes().fill_null(0) + pl.col("reasoning").str.len_bytes().fill_null(0),
            stored_at=pl.lit(now, dtype=pl.Int64),
            writer=pl.lit(writer),
        )
        .sort("question_id", "sample", "key", "answered_at")
    )


def blocks(expected: pl.DataFrame, size: int = BLOCK_BYTES) -> Iterator[pl.DataFrame]:
    """Cut a table (ordered by question; column ``size``) into runs of about ``size`` bytes of text and the like."""
    numbered = expected.with_columns(block=(pl.col("size") + ROW_BYTES).cum_sum().floordiv(size))
    yield from numbered.partition_by("block", maintain_order=True, include_key=False)


def request_key(model: Mapping[str, Any], messages: Any, sampling: Any, schema: Any, sample: int, seed: int) -> str:
    """The store key of one request: 32 hex digits over everything that decides the answer."""
    return KeyMaker(model, sampling, schema)(messages, sample, seed)


class KeyMaker:
    """``request_key`` for many requests of one model and one set of settings."""

    def __init__(self, model: Mapping[str, Any], sampling: Any, schema: Any) -> None:
        self._settings = digest({"model": dict(model), "sampling": sampling, "response_schema": schema}, 64)
        self._last: tuple[Any, str] = (None, "")

    def __call__(self, messages: Any, sample: int, seed: int) -> str:
        if messages is not self._last[0]:  # the samples of a question share theirs
            self._last = (messages, digest(messages, 64))
        return digest([self._settings, self._last[1], sample, seed])


def loads(text: str | None) -> dict[str, Any]:
    """A JSON column's value; an empty object where there is none."""
    return json.loads(text) if text else {}


def dumps(value: Mapping[str, Any]) -> str:
    """A JSON column's text."""
    return canonical_json(dict(value))
