"""Questions of a StackExchange site, from its public data dump (``openthoughts.sources.stackexchange`` reads it)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from openthoughts.sources.connectors import Connector

if TYPE_CHECKING:
    import polars as pl


class StackExchange(Connector):
    """A site of StackExchange."""

    site: str = Field(description="Name of the site, such as physics.stackexchange.com.")
    url: str | None = Field(None, description="Address or path of the archive (default: the public dump).")

    @classmethod
    def local_paths(cls, entry: Mapping[str, Any]) -> list[str]:
        """The archive, where it lies on this machine."""
        return [] if cls.is_locked(entry) else [str(entry["url"])]

    @classmethod
    def is_locked(cls, entry: Mapping[str, Any]) -> bool:
        """Where the archive has an address."""
        return "://" in str(entry.get("url", "https://"))

    @classmethod
    def revision(cls, entry: Mapping[str, Any]) -> str | None:
        """SHA-256 of the archive."""
        from openthoughts.sources.stackexchange import checksum

        return checksum(entry)

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the questions, each post once."""
        from openthoughts.sources.stackexchange import read

        yield from read(self.written(), revision)
