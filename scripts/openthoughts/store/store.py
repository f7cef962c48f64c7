"""The completion store: every answer a model has returned, raw, in a Delta Lake table that many writers append to.

Layout of the folder: ``store.json`` (the format), ``completions/`` (the table, partitioned by model and by the first
hex digit of the question's id, so that a shard, a contiguous range of ids, touches few files), ``journals/`` (answers
not yet in the table), ``leases/`` and ``writers/`` (who is alive and what it holds).

An answer is first appended to the writer's journal and from there folded into the table every ``FOLD_SECONDS``. The
commit carries the journal's segment number as an application transaction of Delta Lake, so a segment is folded once,
whoever folds it and whenever its writer died. Rows are never changed; of several rows of a key reading keeps the first
stored one, and an answer before a failure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.store.journal import Journal, Row, StoreFullError, has_no_space, parse_lines, read_segment, segments
from openthoughts.store.leases import KNOWN_DEAD_SECONDS, Presence, is_present, leased
from openthoughts.store.reading import StoreReader
from openthoughts.store.rows import ROWS, table_rows

if TYPE_CHECKING:
    from deltalake import DeltaTable, WriterProperties

FOLD_SECONDS = 60.0
COMMIT_RETRIES = 10_000
"""Delta Lake's default of 15 is too few for eager writers: each lost race costs one."""
ADOPTION_SECONDS = 600.0
"""How long a dead writer's journal is waited for while another process folds it."""
PART_ROWS = 1000
"""Rows of a journal that are Python's objects at a time."""

log = logging.getLogger(__name__)


class Store(StoreReader):
    """One process' view of a store, to read and to write; a context manager, whose end folds what was appended.

    ``append`` and ``rotate`` belong to one thread; everything else may be called from any.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder)
        self._presence: Presence | None = None
        self._former: list[Presence] = []
        self._journal: Journal | None = None
        self._table_to_write: DeltaTable | None = None
        self._committing = threading.Lock()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except Exception as error:
            if kind is None:
                raise
            log.warning("what was answered stays in the journal, for the next run to fold (%s)", error)

    def _present(self) -> Presence:
        if self._presence is None:
            self._presence = Presence(self.writer_folder)
        return self._presence

    @property
    def writer(self) -> str:
        """The name under which this process is present and writes."""
        return self._present().name

    @contextmanager
    def lease(self, name: str, wait: float) -> Iterator[bool]:
        """Hold the lease on ``name``, waiting up to ``wait`` seconds; yields whether it was had."""
        holder = self._present().name
        with leased(self.folder / "leases", name, self.writer_folder, holder, wait) as had:
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
            gone = [path for path in others if not is_present(self.writer_folder, path.name)]
            for path in gone:
                path.unlink(missing_ok=True)
            return 1 + len(others) - len(gone)

        try:
            yield count
        finally:
            mine.unlink(missing_ok=True)

    def append(self, row: Row) -> None:
        """Write one answer to the journal (columns of ``ROWS``; what is derived may be left out)."""
        if self._journal is None:
            self._journal = Journal(self.journal_folder, self._present().name)
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
        self._journal = journal = Journal(self.journal_folder, self._present().name)
        for line in lost.lines:
            journal.append_line(line)
        with suppress(OSError):
            lost.close()
        return journal

    def commit_lines(self, writer: str, segment: int, lines: Sequence[bytes]) -> None:
        """``commit`` for what ``rotate`` gave."""
        parts = (parse_lines(lines[start : start + PART_ROWS]) for start in range(0, len(lines), PART_ROWS))
        table = table_rows(parts, writer)
        with self._committing:
            self._commit_in_order(writer, segment, table)

    def commit(self, writer: str, segment: int, rows: Sequence[Row]) -> None:
        """Fold one closed segment into the table, once, and remove it."""
        with self._committing:
            self._commit_in_order(writer, segment, table_rows([rows], writer))

    def _commit_in_order(self, writer: str, segment: int, table: pl.DataFrame) -> None:
        """Fold a segment after those before it that could not be folded: the table knows the last one's number only."""
        for name, earlier, path in segments(self.journal_folder):
            if name == writer and earlier < segment:
                self._commit(writer, earlier, table_rows([read_segment(path)], writer))
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
        (self.journal_folder / f"{writer}.{segment:06d}.jsonl").unlink(missing_ok=True)

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
                    writer_properties=writer_properties(),
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
        if not self.journal_folder.is_dir():
            return 0
        mine = self._presence.name if self._presence else None
        orphans = {writer for writer, _, _ in segments(self.journal_folder) if writer != mine}
        folded = 0
        for writer in sorted(orphans):
            if is_present(self.writer_folder, writer):
                continue
            with self.lease(f"journal-{writer}", wait=ADOPTION_SECONDS) as had:
                if not had:
                    raise UserError(
                        f"another process is folding the journal {writer} of {self.folder} for {ADOPTION_SECONDS:.0f} "
                        "s: see what holds it up, then run again."
                    )
                for name, segment, path in list(segments(self.journal_folder)):
                    if name == writer:
                        with suppress(FileNotFoundError):
                            rows = read_segment(path)
                            self.commit(writer, segment, rows)
                            folded += len(rows)
                (self.writer_folder / f"{writer}.json").unlink(missing_ok=True)
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

        if DeltaTable.is_deltatable(str(self.table_folder)):
            return DeltaTable(self.table_folder)
        names = {"String": "string", "Int64": "long", "Float64": "double"}
        with self.lease("table", wait=KNOWN_DEAD_SECONDS) as had:
            if not had:
                raise UserError(f"the table of {self.folder} is being made by another process: run again.")
            return DeltaTable.create(
                self.table_folder,
                schema=Schema([Field(name, PrimitiveType(names[str(dtype)])) for name, dtype in ROWS.items()]),
                mode="ignore",
                partition_by=["model_id", "bucket"],
                configuration={"delta.dataSkippingStatsColumns": "question_id,sample"},
            )


def writer_properties() -> WriterProperties:
    """Small row groups, so that a shard decodes no more of a large file than its range."""
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", statistics_truncate_length=64, max_row_group_size=1024)
