"""Questions of a StackExchange site, from its public data dump: ``Posts.xml`` in a 7z archive.

Entry: ``site`` (``physics.stackexchange.com``) and ``url``, the archive's address or path (default: the public dump).
The archive is downloaded once, resumed where it was cut, and checked against the pinned SHA-256; it is unpacked and
parsed as a stream, so a file of any size needs the memory of a few batches. A question is the text of its post's body
(title, tags and score are in the metadata), each post exactly once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import file_sha256
from openthoughts.sources.markup import html_to_text
from openthoughts.sources.rows import BATCH_ROWS, Entry, Row, metadata_json, raw_batch

log = logging.getLogger(__name__)

DUMP = "https://archive.org/download/stackexchange/{site}.7z"
MEMBER = "Posts.xml"
QUESTION = "1"
"""``PostTypeId`` of a question."""

IS_QUESTION = f'PostTypeId="{QUESTION}"'.encode()

BLOCK = 1 << 20
PACKED_BLOCK = 1 << 17
"""Bytes that are unpacked at a time; what becomes of them, often ten times as much, is in memory at once."""

INVALID_REFERENCE = re.compile(
    r"&#(?:x(?:[0-8BCEF]|1[0-9A-F]|D[89A-F][0-9A-F]{2}|FFF[EF])|[0-8]|1[124-9]|2\d|3[01]);", re.I
)
"""References to characters that XML does not have: control characters and lone surrogates."""


def archive_address(entry: Entry) -> str:
    """The address or path of an entry's archive."""
    return str(entry.get("url", DUMP.format(site=entry["site"])))


def cached_path(address: str) -> Path:
    """Where a downloaded archive is kept: below OPENTHOUGHTS_CACHE, else below ``cache``."""
    folder = Path(os.environ.get("OPENTHOUGHTS_CACHE", "cache")) / "downloads"
    return folder / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{address.rpartition('/')[2]}"


def _download_rest(address: str, partial: Path) -> None:
    """Append what is missing of a file to its part on disk."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        appended = response.status == 206
        expected = int(response.headers["Content-Length"] or 0) + (have if appended else 0)
        with partial.open("ab" if appended else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
    if partial.stat().st_size < expected:
        raise ConnectionError(f"{partial.stat().st_size} of {expected} bytes arrived")


def download(address: str, tries: int = 5) -> Path:
    """The local copy of a file, downloaded where it is not there yet; a broken download goes on where it was cut.

    Raises ``UserError`` when the file is not there or cannot be had.
    """
    path = cached_path(address)
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(tries):
        try:
            _download_rest(address, partial)
            break
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part on disk is the whole file
                break
            if error.code < 500 or attempt == tries - 1:
                raise UserError(f"{address} answers with status {error.code}: fix `url`, or try later.") from error
        except (OSError, ConnectionError) as error:
            if attempt == tries - 1:
                raise UserError(f"{address} cannot be downloaded ({error}): run again to go on.") from error
        log.warning("%s was cut, going on", address)
        time.sleep(min(0.2 * 2**attempt, 30))
    partial.replace(path)
    return path


def local_archive(entry: Entry, revision: str | None) -> Path:
    """The entry's archive on this machine, checked against the pinned SHA-256 where it comes from elsewhere.

    Raises ``UserError`` for an archive that is not there, not pinned, or not the pinned one.
    """
    address = archive_address(entry)
    if "://" not in address:
        path = Path(address)
        if not path.is_file():
            raise UserError(f"{path} does not exist: fix `url`.")
    elif revision is None:
        raise UserError(f"{address} is not pinned to a checksum: run `snakemake lock`, then again.")
    else:
        path = download(address)
    if revision is not None and file_sha256(path) != revision:
        if "://" in address:
            path.unlink()
        raise UserError(f"{address} is not the file that is pinned (its SHA-256 differs): run `snakemake lock`.")
    return path


class _Blocks:
    """Blocks of a file that another thread unpacks, as an iterator with a bounded number of blocks in between."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._blocks: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=16)
        self._closed = threading.Event()

    def put(self, block: bytes | Exception | None) -> None:
        """Hand a block over; raises once the consumer has stopped."""
        while not self._closed.is_set():
            try:
                return self._blocks.put(block, timeout=0.1)
            except queue.Full:
                continue
        raise InterruptedError

    def unpack(self) -> None:
        """What the thread does."""
        import py7zr
        from py7zr.io import Py7zIO, WriterFactory

        put = self.put

        class Writer(Py7zIO):
            length = 0

            def write(self, s: Any) -> int:
                view = memoryview(s)
                for start in range(0, len(view), BLOCK):
                    put(bytes(view[start : start + BLOCK]))
                self.length += len(view)
                return len(view)

            def read(self, size: int | None = None) -> bytes:
                return b""

            def seek(self, offset: int, whence: int = 0) -> int:
                return 0

            def flush(self) -> None:
                pass

            def size(self) -> int:
                return self.length

        class Factory(WriterFactory):
            def create(self, filename: str) -> Py7zIO:
                return Writer()

        try:
            with py7zr.SevenZipFile(self._archive, blocksize=PACKED_BLOCK) as archive:
                if MEMBER not in archive.getnames():
                    raise UserError(f"{self._archive} holds no {MEMBER}: it is not a dump of a site's posts.")
                archive.extract(targets=[MEMBER], factory=Factory())
            put(None)
        except InterruptedError:
            pass
        except Exception as error:
            if not self._closed.is_set():
                self._blocks.put(error)

    def __iter__(self) -> Iterator[bytes]:
        thread = threading.Thread(target=self.unpack, daemon=True)
        thread.start()
        try:
            while (block := self._blocks.get()) is not None:
                if isinstance(block, UserError):
                    raise block
                if isinstance(block, Exception):
                    raise UserError(f"{self._archive} is damaged ({block}): delete it and run again.") from block
                yield block
        finally:
            self._closed.set()
            thread.join()


def _blocks(path: Path) -> Iterator[bytes]:
    if path.suffix != ".xml":
        yield from _Blocks(path)
        return
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _is_other_post(line: bytes) -> bool:
    """Whether a line is, as in the public dumps, one whole post that is no question: it need not be parsed."""
    row = line.strip()
    return row.startswith(b"<row ") and row.endswith(b"/>") and IS_QUESTION not in row


def _lines(blocks: Iterator[bytes]) -> Iterator[str]:
    """The lines that may hold questions, many at a time, without what XML forbids."""
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        kept = b"\n".join(line for line in lines if not _is_other_post(line)) + b"\n"
        yield INVALID_REFERENCE.sub("\ufffd", kept.decode(errors="replace"))
    yield INVALID_REFERENCE.sub("\ufffd", rest.decode(errors="replace"))


def _row(attributes: dict[str, str]) -> Row:
    metadata = metadata_json(
        title=attributes.get("Title"),
        tags=attributes.get("Tags"),
        score=attributes.get("Score"),
        licence=attributes.get("ContentLicense"),
    )
    return attributes["Id"], html_to_text(attributes.get("Body", "")), None, metadata


def questions(lines: Iterator[str]) -> Iterator[Row]:
    """The questions among the rows of ``Posts.xml``. Raises ``UserError`` where it is no XML."""
    found: list[Row] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "row" and attributes.get("PostTypeId") == QUESTION:
            found.append(_row(attributes))

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        for text in lines:
            parser.Parse(text)
            yield from found
            found.clear()
        parser.Parse("", True)
    except expat.ExpatError as error:
        raise UserError(f"{MEMBER} cannot be read ({error}): delete the archive and run again.") from error
    yield from found


def read(entry: Entry, revision: str | None) -> Iterator[pl.DataFrame]:
    """Yield the site's questions in the order of the dump; the key is the post's id."""
    rows: list[Row] = []
    for row in questions(_lines(_blocks(local_archive(entry, revision)))):
        rows.append(row)
        if len(rows) == BATCH_ROWS:
            yield raw_batch(rows)
            rows = []
    yield raw_batch(rows)


def checksum(entry: Entry) -> str:
    """SHA-256 of an entry's archive as it is now, which is downloaded where it has an address."""
    address = archive_address(entry)
    path = download(address) if "://" in address else Path(address)
    if not path.is_file():
        raise UserError(f"{path} does not exist: fix `url`.")
    return file_sha256(path)
