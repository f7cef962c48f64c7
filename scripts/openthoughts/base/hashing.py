"""Stable hashes: who a question is, which shard it belongs to, and which n of many are chosen.

Everything here is a pure function of text and integers, the same on every machine and in every release: results are
addressed by these values. Polars is imported where it is used: every cluster job reads the plan, and so this module.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

QUESTION_ID_DIGITS = 32
"""Hex digits of a question id (128 bits of BLAKE2b)."""


def question_id(text: str) -> str:
    """The id of a question: 32 hex digits of the BLAKE2b hash of its text (UTF-8)."""
    return hashlib.blake2b(text.encode(), digest_size=QUESTION_ID_DIGITS // 2).hexdigest()


def question_ids(texts: pl.Series) -> pl.Series:
    """``question_id`` of every text of a string column; null stays null."""
    import polars as pl

    return pl.Series("question_id", [None if text is None else question_id(text) for text in texts], dtype=pl.String)


def canonical_json(value: Any) -> str:
    """One spelling of a JSON value: sorted keys, no blanks, no NaN. The text that is hashed for ids and keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, hex_digits: int = 32) -> str:
    """Hex digits of the BLAKE2b hash of a JSON value's canonical text."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=32).hexdigest()[:hex_digits]


def file_sha256(path: Path) -> str:
    """64 hex digits of the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keyed_hash(seed: int, question_id: str, occurrence: int = 0, salt: str = "") -> int:
    """64-bit rank of one row under a seed.

    The n rows of smallest rank are the draw of n: growing n, or adding a source, keeps the rows already drawn.
    """
    key = f"{seed}\0{salt}\0{question_id}\0{occurrence}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def request_seed(seed: int, question_id: str, sample: int) -> int:
    """The sampling seed (31 bits, accepted by every server) of one answer to one question."""
    return keyed_hash(seed, question_id, sample, salt="request") >> 33


def shard_of(question_id: str, shards: int) -> int:
    """The shard, 0 to ``shards`` - 1, of a question: shards are contiguous ranges of the question id."""
    return (int(question_id[:8], 16) * shards) >> 32


def shard_expression(shards: int) -> pl.Expr:
    """``shard_of`` as a Polars expression over the column ``question_id``."""
    import polars as pl

    head = pl.col("question_id").str.slice(0, 8).str.to_integer(base=16, dtype=pl.UInt64)
    return ((head * shards) // 2**32).cast(pl.UInt32)
