"""Compaction: many small files of the store's table become few, and what nobody uses is removed."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.store.leases import RELEASED, is_present
from openthoughts.store.store import COMMIT_RETRIES, Store, writer_properties

COMPACT_BYTES = 256 * 2**20
"""Size of a compacted file."""

log = logging.getLogger(__name__)


def compact(store: Store, keep_hours: int) -> None:
    """Rewrite the files of every partition that has many as few, ordered by question; clear away what is unused.

    Replaced files stay for ``keep_hours``, for those that still read them. Raises ``UserError`` where that is less
    than a day and somebody else uses the store, or where another process compacts it.
    """
    from deltalake import CommitProperties, DeltaTable

    store.adopt_orphans()
    others = [path.stem for path in store.writer_folder.glob("*.json") if path.stem != store.writer]
    if keep_hours < 24 and any(is_present(store.writer_folder, other) for other in others):
        raise UserError(f"{store.folder} is in use: wait until its writers end, or keep replaced files for a day.")
    with store.lease("compaction", wait=0) as had:
        if not had:
            raise UserError(f"{store.folder} is being compacted by another process: wait until it ends.")
        store.refresh()
        files = store.files()
        before = files.height
        if not files.is_empty():
            table = DeltaTable(store.table_folder)
            for model_id, bucket in _scattered(files).iter_rows():
                table.optimize.z_order(
                    ["question_id"],
                    partition_filters=[("model_id", "=", model_id), ("bucket", "=", bucket)],
                    target_size=COMPACT_BYTES,
                    writer_properties=writer_properties(),
                    commit_properties=CommitProperties(max_commit_retries=COMMIT_RETRIES),
                )
            table.create_checkpoint()
            table.vacuum(retention_hours=keep_hours, dry_run=False, enforce_retention_duration=False)
        _clear_away(store)
        store.refresh()
    log.info("%s: %d files, %d before", store.folder, store.files().height, before)


def _clear_away(store: Store) -> None:
    """Remove leases given back, and writers gone, more than a day ago."""
    yesterday = time.time() - 86_400
    for path in [*store.writer_folder.glob("*.json"), *(store.folder / "leases").glob("*.[0-9]*")]:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime > yesterday:
                continue
            owner = path.stem if path.suffix == ".json" else path.read_text()
            if owner == RELEASED or not is_present(store.writer_folder, owner):
                path.unlink()


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
