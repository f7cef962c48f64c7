"""Connectors: how the questions of a catalog entry are read. Each module of this folder is one.

To add a connector, add a module: its name is the connector's, and it defines one subclass of ``Connector``. The plan
checks every entry and pins what it reads, so nothing slow is imported at the top of these modules.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from openthoughts.base.options import Options, execution_only
from openthoughts.base.register import Register
from openthoughts.sources.counts import Counted

if TYPE_CHECKING:
    import polars as pl

LocalPath = Annotated[Path, Field(strict=False)]
"""The type of a key that names a file or folder of this machine, which the plan pins by its content."""


class Connector(Options):
    """One kind of catalog entry; its fields are the keys of such an entry. These are the keys of every entry."""

    connector: str = Field(description="How the questions are read; each connector has keys of its own.")
    domain: str | None = Field(None, description="Domain of the questions.")
    limit: NonNegativeInt | None = Field(None, description="Read at most this many questions, from the first.")
    repeat_to: NonNegativeInt = Field(0, description="Repeat rows up to this number, chosen by `seed`.")
    seed: int = Field(0, description="Seed of what is chosen.")
    passage: PositiveInt | None = Field(None, description="Cut texts into passages of at most this many characters.")
    licence: str | None = execution_only(None, description="Licence of the questions.")
    homepage: str | None = execution_only(None, description="Address of their page.")
    rank: int | None = execution_only(None, description="Place in the paper's ranking of its domain's sources.")
    rows: NonNegativeInt | None = execution_only(None, description="Rows expected, where they cannot be counted.")
    questions: NonNegativeInt | None = execution_only(
        None, description="Different questions expected among the rows, where some are there in several."
    )
    question_tokens: Annotated[float, Field(gt=0)] | None = execution_only(
        None, description="Expected tokens of a question, for the plan; where not given, 150."
    )
    verified: Any = execution_only(None, description="Whether the entry has been compared with its dataset.")
    note: str | None = execution_only(None, description="What else is known.")
    published: Any = execution_only(None, description="Published figures.")
    grader: str | None = execution_only(None, "evaluations", description="What grades the answers.")
    prompt: str | None = execution_only(None, "evaluations", description="Prompt of the catalog that asks them.")
    samples: PositiveInt | None = execution_only(
        None, "evaluations", description="Answers per question in an evaluation."
    )
    group: str | None = execution_only(
        None, "experiments", description="A group of benchmarks whose average is reported."
    )
    averaged: bool = execution_only(
        True, "experiments", description="Whether the overall average counts the benchmark."
    )
    part_of: str | None = execution_only(None, description="The entry whose questions hold all of these.")
    judge: Any = execution_only(
        None, "evaluations", description="Who judges the answers, where the grader asks a judge."
    )

    @model_validator(mode="after")
    def _with_a_row_per_question(self) -> Self:
        if self.rows is not None and self.questions is not None and self.questions > self.rows:
            sentence = f"{self.questions} different questions cannot be in {self.rows} rows: lower `questions`"
            raise PydanticCustomError("questions", "{sentence}", {"sentence": sentence})
        return self

    package: ClassVar[str | None] = None
    """The installed package whose version the questions are of."""

    @classmethod
    def local_paths(cls, entry: Mapping[str, Any]) -> list[str]:
        """The files and folders of this machine that an entry reads: the plan pins their content."""
        keys = [key for key, field in cls.model_fields.items() if _is_path(field.annotation) and entry.get(key)]
        return [str(entry[key]) for key in keys]

    @classmethod
    def is_locked(cls, entry: Mapping[str, Any]) -> bool:
        """Whether what an entry reads comes from the internet, and must stand in the lock first."""
        return False

    @classmethod
    def revision(cls, entry: Mapping[str, Any]) -> str | None:
        """The commit or checksum that an entry stands at now, for the lock; null where nothing is to be locked.

        Raises ``UserError`` where it cannot be found out.
        """
        return None

    @classmethod
    def counted(cls, entry: Mapping[str, Any]) -> Counted | None:
        """Rows that an entry reads, as far as they can be told in a moment and without a network; null elsewhere."""
        return None

    @classmethod
    def metadata_names(cls, entry: Mapping[str, Any]) -> frozenset[str] | None:
        """What the metadata of an entry's questions may hold; null where only the source can tell."""
        return None

    @classmethod
    def has_reference(cls, entry: Mapping[str, Any]) -> bool:
        """Whether an entry's questions have reference answers, as far as the entry can tell."""
        return True

    def read(self, revision: str | None) -> Iterator[pl.DataFrame]:
        """Yield the rows as tables of ``openthoughts.sources.rows.raw_batch``, in the source's own order.

        ``revision`` is what the lock pins. Raises ``UserError`` for the user's mistakes.
        """
        raise NotImplementedError


QUESTION_KEYS = ("column", "text", "chat")
"""Keys that say where in a table the question is."""


class TableKeys(Connector):
    """The keys that say where in a table the question is; see ``openthoughts.sources.columns``."""

    format: str | None = Field(None, description="Format of the files, if their names do not show it.")
    column: str | None = Field(None, description="Column of the question.")
    text: Any = Field(None, description="Template of the question with {column} places, or a list of pieces.")
    chat: str | None = Field(None, description="Column of messages; the user's first message is the question.")
    where: str | None = Field(None, description="SQL condition on the columns.")
    reference: str | None = Field(None, description="Column of the reference answer.")
    choices: Any = Field(None, description="Where the choices of a multiple-choice question are.")
    key: str | None = Field(None, description="Column that identifies a row.")
    metadata: Any = Field(None, description="Further columns to keep.")
    tests: Any = Field(None, description="Columns of the tests of a programming problem.")

    @model_validator(mode="after")
    def _with_one_question(self) -> Self:
        for part in self.tables():
            named = [key for key in QUESTION_KEYS if part.get(key) is not None]
            if len(named) != 1:
                said = f"{' and '.join(named)} say it" if named else "nothing says it"
                sentence = f"where the question stands is said by one of {', '.join(QUESTION_KEYS)}: {said}"
                raise PydanticCustomError("question", "{sentence}", {"sentence": sentence})
        return self

    def tables(self) -> list[dict[str, Any]]:
        """The keys of each table that the entry reads."""
        return [self.written()]

    @classmethod
    def has_reference(cls, entry: Mapping[str, Any]) -> bool:
        """Whether every table names a column of reference answers, or the right one of its choices."""
        parts = entry.get("parts") or [{}]
        whole = [{**entry, **part} for part in parts]
        return all(part.get("reference") or isinstance(part.get("choices"), Mapping) for part in whole)

    @classmethod
    def metadata_names(cls, entry: Mapping[str, Any]) -> frozenset[str] | None:
        """The columns that are kept, and the choices and tests where there are some."""
        kept = entry.get("metadata") or []
        names = set([kept] if isinstance(kept, str) else kept)
        if entry.get("choices") is not None:
            names.add("choices")
        if entry.get("tests") is not None:
            names |= {"tests", "function", "time_limit"}
        return frozenset(names)


def _is_path(annotation: Any) -> bool:
    return annotation is Path or any(_is_path(each) for each in typing.get_args(annotation))


DESCRIPTIVE = Connector.execution_keys()
"""Keys that describe an entry or say how it is used: no connector reads them, and no id of questions holds them."""

CONNECTORS: Register[Connector] = Register(__name__, Connector)
"""Every connector by its name in the catalog."""
