"""The journal of one writer: answers as they come, one JSON object per line, safe from a kill at once and from a crash
of the machine within ``SYNC_SECONDS``.

A journal is a series of segments ``WRITER.000001.jsonl``, ... A segment is closed, folded into the store and removed;
what a dead writer left is folded by whoever comes next.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.files import is_full

SYNC_SECONDS = 1.0
PROBE_BYTES = 2**20

log = logging.getLogger(__name__)

Row = dict[str, Any]


class StoreFullError(UserError):
    """The store's file system has no space left (or the user no quota)."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no space left for {path}: free some, then run again; what was answered so far is kept.")


def has_no_space(folder: Path) -> bool:
    """Whether a folder takes no more data: a full disk, or a quota used up."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return is_full(error)
    return False


class Journal:
    """The open segment of a writer's journal. ``append`` and ``rotate`` are called from one thread."""

    def __init__(self, folder: Path, writer: str) -> None:
        self.folder = folder
        self.writer = writer
        self.segment = 0
        self.lines: list[bytes] = []
        self._descriptor = -1
        self.size = 0
        self._dirty = False
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._open_next()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sync_often, name="journal", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The open segment's file."""
        return segment_path(self.folder, self.writer, self.segment)

    def _open_next(self) -> None:
        path = segment_path(self.folder, self.writer, self.segment + 1)
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664)
        except OSError as error:
            if is_full(error):
                raise StoreFullError(path) from error
            raise
        self.segment += 1
        self.size = 0
        self.lines = []

    def append(self, row: Row) -> None:
        """Write one row; on return it survives the death of this process."""
        self.append_line(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n")

    def append_line(self, line: bytes) -> None:
        """Write one row as the line that another journal held."""
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
                os.lseek(self._descriptor, self.size, os.SEEK_SET)
            if is_full(error):
                raise StoreFullError(self.path) from error
            raise
        self.size += len(line)
        self._dirty = True
        self.lines.append(line)

    def sync(self) -> None:
        """Bring everything appended to the disk."""
        with self._lock:
            if self._dirty and self._descriptor >= 0:
                self._dirty = False
                os.fsync(self._descriptor)

    def _sync_often(self) -> None:
        while not self._ended.wait(SYNC_SECONDS):
            try:
                self.sync()
            except OSError as error:
                log.warning("journal %s could not be synced: %s", self.path, error)

    def is_lost(self) -> bool:
        """Whether somebody, taking this writer for dead, has removed the open segment."""
        try:
            there = self.path.stat()
            mine = os.fstat(self._descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return True
            raise
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def rotate(self) -> tuple[int, list[bytes]]:
        """Close the segment and open the next; the closed one's number and lines."""
        self.sync()
        closed, lines, descriptor = self.segment, self.lines, self._descriptor
        with self._lock:
            self._open_next()
        os.close(descriptor)
        return closed, lines

    def close(self) -> None:
        """Stop writing; the open segment's file stays where it holds rows."""
        self._ended.set()
        self._thread.join()
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1
        if not self.size:
            self.path.unlink(missing_ok=True)


def segment_path(folder: Path, writer: str, segment: int) -> Path:
    """Where a segment lies."""
    return folder / f"{writer}.{segment:06d}.jsonl"


def segments(folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Every segment of every writer in ``folder``: writer, number, file; ordered."""
    for path in sorted(folder.glob("*.*.jsonl")):
        writer, number, _ = path.name.split(".")
        yield writer, int(number), path


def read_segment(path: Path) -> list[Row]:
    """The rows of a segment; a line that is not whole (the last one, after a crash) is left out."""
    return parse_lines(path.read_bytes().split(b"\n"), str(path))


def parse_lines(lines: Iterable[bytes], name: str = "the journal") -> list[Row]:
    """The rows of a journal's lines; one that is not whole is left out."""
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip(b"\0 \r\n"):
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError:
            log.warning("%s, line %d: cut short by a crash, left out", name, number)
            continue
        rows.append(row)
    return rows
