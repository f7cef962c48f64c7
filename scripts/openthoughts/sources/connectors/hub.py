"""Datasets of the Hugging Face hub, each at a pinned commit (``openthoughts.sources.hub`` reads them).

``files`` names the files of a split where the dataset does not say; ``parts`` are several datasets, configurations or
splits under one source, each with keys that come over the entry's; ``lookup`` finds the questions in another dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from openthoughts.sources.connectors import TableKeys

if TYPE_CHECKING:
    import polars as pl


class Hub(TableKeys):
    """A dataset of the hub."""

    dataset: str | None = Field(None, description="OWNER/NAME of the dataset.")
    config: str | None = Field(None, description="Its configuration.")
    split: str = Field("train", description="Its split.")
    files: Any = Field(None, description="Pattern of the files to read, a list of them, or one per split.")
    parts: list[dict[str, Any]] | None = Field(None, description="Several datasets, configurations or splits.")
    lookup: dict[str, Any] | None = Field(None, description="Where in another dataset the question stands.")
    ref: str = Field("main", description="Branch whose commit the lock pins.")

    def tables(self) -> list[dict[str, Any]]:
        """The keys of each part; of none where the questions stand in other datasets (``lookup``)."""
        whole = self.written()
        parts = [{**whole, **part} for part in whole.pop("parts", None) or [{}]]
        return [part for part in parts if not part.get("lookup")]

    @classmethod
    def is_locked(cls, entry: Mapping[str, Any]) -> bool:
        """Always."""
        return True

    @classmethod
    def revision(cls, entry: Mapping[str, Any]) -> str | None:
        """The commit of its dataset, or ``DATASET@COMMIT`` of several, joined by commas."""
        from openthoughts.sources.hub import commits_of

        return commits_of(entry)

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows of the parts."""
        from openthoughts.sources.hub import read

        yield from read(self.written(), revision)
