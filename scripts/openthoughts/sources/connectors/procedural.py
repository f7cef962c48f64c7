"""Questions of reasoning-gym's generators ("families"), each with a verifier of its own.

Entry: ``families`` maps a family to its settings (``size``, ``seed``, and the generator's own options); ``size`` is the
default number of questions a family. Some generators depend on the order of Python sets, hence on the hash seed of the
process, so the questions are made in a child process whose hash seed is fixed.

The metadata holds what the verifier needs: ``{"family": name, "entry": {question, answer, metadata}}``; score an answer
with ``reasoning_gym.get_score_answer_fn(family)(answer, entry)``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from openthoughts.base.cli import UserError
from openthoughts.base.options import suggestion
from openthoughts.sources.connectors import Connector
from openthoughts.sources.counts import Counted
from openthoughts.sources.rows import BATCH_ROWS, Entry, Row, metadata_json, raw_batch
from openthoughts.sources.text import answer_text, valid_text

if TYPE_CHECKING:
    import polars as pl

DEFAULT_SIZE = 100

USER_ERROR = 3
"""Exit status of the child when the user's settings are wrong; what is wrong is on its standard error."""


def family_settings(entry: Entry) -> dict[str, dict[str, Any]]:
    """Family -> settings with which its generator is made, ``size`` and ``seed`` included."""
    families = entry["families"]
    if isinstance(families, list):
        families = dict.fromkeys(families)
    defaults = {"size": entry.get("size", DEFAULT_SIZE), "seed": entry.get("seed", 0)}
    return {family: {**defaults, **(settings or {})} for family, settings in families.items()}


def generate(family: str, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the entries of one family, made in this process.

    Raises ``UserError`` for an unknown family, for settings it does not take, and for a family whose verifier does not
    accept its own answer once the entry has been through JSON.
    """
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if family not in DATASETS:
        raise UserError(f"reasoning-gym has no family {family!r}{suggestion(family, DATASETS)}.")
    try:
        dataset = reasoning_gym.create_dataset(family, **settings)
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"reasoning-gym's family {family} does not take these settings: {error}.") from error
    for number, entry in enumerate(dataset):
        if number == 0 and entry["answer"] is not None:
            stored = json.loads(json.dumps(entry))
            if dataset.score_answer(entry["answer"], stored) != 1.0:
                raise UserError(f"reasoning-gym's family {family} cannot be scored from a file: choose another one.")
        yield entry


def _child_main() -> int:
    """Write the entries of the families of the first argument (JSON) to standard output, one JSON line each."""
    lines = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):  # some generators print
            for family, settings in json.loads(sys.argv[1]).items():
                for entry in generate(family, settings):
                    lines.write(json.dumps([family, entry]) + "\n")
    except UserError as error:
        print(f"\n{error}", file=sys.stderr)
        return USER_ERROR
    return 0


def _child_lines(families: Mapping[str, Any]) -> Iterator[str]:
    """The lines that ``_child_main`` writes in a process of its own, with a fixed hash seed."""
    scripts = str(Path(__file__).resolve().parents[3])
    command = [sys.executable, "-W", "ignore", "-m", "openthoughts.sources.connectors.procedural", json.dumps(families)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": scripts}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as child,
    ):
        assert child.stdout is not None
        try:
            yield from child.stdout
        except GeneratorExit:
            child.kill()
            raise
        if child.wait() == 0:
            return
        errors.seek(0)
        message = errors.read().strip()
        raise UserError(message.splitlines()[-1]) if child.returncode == USER_ERROR else RuntimeError(message)


def _row(family: str, number: int, entry: Mapping[str, Any]) -> Row:
    metadata = metadata_json(family=family, entry=entry)
    return f"{family}-{number}", valid_text(entry["question"]), answer_text(entry["answer"]), metadata


def _read(entry: Entry) -> Iterator[pl.DataFrame]:
    """Yield the questions of the entry's families, in the entry's order; the key is ``FAMILY-NUMBER``."""
    numbers: dict[str, int] = {}
    rows: list[Row] = []
    for line in _child_lines(family_settings(entry)):
        family, item = json.loads(line)
        numbers[family] = numbers.get(family, -1) + 1
        rows.append(_row(family, numbers[family], item))
        if len(rows) == BATCH_ROWS:
            yield raw_batch(rows)
            rows = []
    yield raw_batch(rows)


class Procedural(Connector):
    """Questions of the generators of reasoning-gym."""

    families: dict[str, Any] | list[str] = Field(description="Families, or family -> its settings.")
    size: PositiveInt = Field(100, description="Questions per family.")

    package: ClassVar[str | None] = "reasoning-gym"

    @classmethod
    def counted(cls, entry: Entry) -> Counted | None:
        """The questions of all families."""
        sizes = [settings["size"] for settings in family_settings(entry).values()]
        return Counted(sum(sizes)) if all(isinstance(size, int) for size in sizes) else None

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        yield from _read(self.written())


if __name__ == "__main__":
    sys.exit(_child_main())
