"""From a dataset's own columns to a question: what local files and hub datasets have in common.

The keys of an entry that say how:

- exactly one of ``column`` (the question's column), ``chat`` (a column of messages, of which the first of the user is
  the question) and ``text``: a template with ``{column}`` places, or a list of pieces joined by blank lines. A piece is
  a template, or ``{each: COLUMN, heading: TEXT, text: PIECES}`` for a column that is a list; it is left out when all of
  its columns are empty, and there is no question when the first piece is;
- ``where``: an SQL condition on the columns, e.g. ``subset = 'aime' AND answer IS NOT NULL``;
- ``reference``: the column of the reference answer;
- ``choices``: of a multiple-choice question, either the column of the list of choices, or the columns of one choice
  each, or ``{correct: COLUMN, incorrect: [COLUMN, ...]}``, which are put in an order that depends on the question's
  hash; the reference answer is then the letter of the right choice;
- ``tests``: of a programming problem, the columns of its tests (see ``openthoughts.sources.programs``);
- ``key``: the column that identifies a row (default: the row's number); ``metadata``: further columns to keep.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash, question_id
from openthoughts.base.options import suggestion
from openthoughts.sources import programs
from openthoughts.sources.rows import RAW, Entry

ROLES = ("role", "from")
CONTENTS = ("content", "value")
USERS = ("user", "human")
QUESTION_KEYS = ("column", "chat", "text")


def _listed(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _template_parts(template: str) -> list[tuple[str, str | None]]:
    """(text, column after it) of each part of a template."""
    try:
        return [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
    except ValueError as error:
        raise UserError(
            f"the template {template!r} cannot be read ({error}): write {{column}}, and {{{{ for a brace."
        ) from error


def _piece_columns(text: str | Sequence[Any]) -> set[str]:
    """The columns that a template, or a list of pieces, names."""
    if isinstance(text, str):
        return {name for _, name in _template_parts(text) if name}
    return {
        name for piece in text for name in ({piece["each"]} if isinstance(piece, Mapping) else _piece_columns(piece))
    }


def _filled(template: str, row: Mapping[str, Any]) -> str | None:
    """A template filled from a row, None when it names columns and all of them are empty."""
    parts = _template_parts(template)
    values = {name: row.get(name) for _, name in parts if name}
    if values and all(value is None or value in ("", []) for value in values.values()):
        return None
    places = {name: "" if value is None else str(value) for name, value in values.items()}
    return "".join(text + (places[name] if name else "") for text, name in parts)


def joined_pieces(pieces: Sequence[Any], row: Mapping[str, Any]) -> str | None:
    """The pieces filled from a row and joined by blank lines, None when the first is left out."""
    filled: list[str] = []
    for number, piece in enumerate(pieces):
        if isinstance(piece, Mapping):
            found = [joined_pieces(piece["text"], one) for one in row[piece["each"]] or ()]
            texts = [text for text in found if text is not None]
            texts = [piece["heading"], *texts] if texts and "heading" in piece else texts
        else:
            text = _filled(piece, row)
            texts = [] if text is None else [text]
        if number == 0 and not texts:
            return None
        filled += texts
    return "\n\n".join(filled)


def _condition(where: str) -> pl.Expr:
    try:
        return pl.sql_expr(where)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"the condition {where!r} cannot be read ({error}): write it as in SQL's WHERE.") from error


def _choice_columns(entry: Entry) -> list[str]:
    choices = entry.get("choices")
    if isinstance(choices, Mapping):
        return [choices["correct"], *_listed(choices["incorrect"])]
    return _listed(choices)


def needed_columns(entry: Entry) -> list[str]:
    """The columns that an entry reads, sorted.

    Raises ``UserError`` unless the entry says in exactly one way where the question is.
    """
    if sum(key in entry for key in QUESTION_KEYS) != 1:
        raise UserError(f"say where the question is with exactly one of {', '.join(QUESTION_KEYS)}.")
    names = _piece_columns(entry.get("text", ""))
    for key in ("column", "chat", "reference", "key", "metadata"):
        names.update(_listed(entry.get(key)))
    names.update(_choice_columns(entry))
    names.update(programs.columns_of(entry["tests"]) if "tests" in entry else ())
    if "where" in entry:
        names.update(_condition(entry["where"]).meta.root_names())
    return sorted(names)


def check_columns(needed: Iterable[str], available: Sequence[str], place: str) -> None:
    """Raise ``UserError`` when a needed column is not among the available ones of ``place``."""
    for name in needed:
        if name not in available:
            raise UserError(
                f"{place} has no column {name!r}{suggestion(name, available)}: its columns are {', '.join(available)}."
            )


def _field(dtype: pl.Struct, names: Sequence[str], column: str) -> str:
    found = [field.name for field in dtype.fields if field.name in names]
    if not found:
        raise UserError(f"the messages of {column!r} have no {' or '.join(names)}: it is not a chat column.")
    return found[0]


def first_user_message(column: pl.Series) -> pl.Series:
    """The text of the first user message of each conversation (null where there is none).

    ``column`` is a list of structs with a role (``role`` or ``from``) and a text (``content`` or ``value``), or that as
    JSON. A text may be a list of blocks (structs with ``text`` or ``content``), which blank lines then part. Raises
    ``UserError`` for a column of another kind.
    """
    if column.dtype == pl.String:
        column = pl.Series(column.name, [None if text is None else json.loads(text) for text in column], strict=False)
    if column.is_null().all():
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    if not isinstance(inner, pl.Struct):
        raise UserError(f"the column {column.name!r} is not a list of messages: name its text with `column`.")
    role, content = _field(inner, ROLES, column.name), _field(inner, CONTENTS, column.name)
    of_user = pl.element().struct.field(role).is_in(USERS)
    texts = pl.element().filter(of_user).struct.field(content)
    first = column.to_frame().select(pl.col(column.name).list.eval(texts).list.first()).to_series()
    return _joined_blocks(first) if isinstance(first.dtype, pl.List) else first


def _joined_blocks(column: pl.Series) -> pl.Series:
    """The texts of messages that are lists of blocks."""
    if not isinstance(column.dtype, pl.List) or not isinstance(column.dtype.inner, pl.Struct):
        raise UserError(f"the messages of {column.name!r} have no blocks with a text: it is not a chat column.")
    text = _field(column.dtype.inner, ("text", "content"), column.name)
    texts = pl.element().struct.field(text).drop_nulls()
    return column.to_frame().select(pl.col(column.name).list.eval(texts).list.join("\n\n")).to_series()


def question_texts(batch: pl.DataFrame, entry: Entry) -> pl.Series:
    """The question of every row of a batch."""
    if "column" in entry:
        column: str = entry["column"]
        return batch[column].cast(pl.String)
    if "chat" in entry:
        return first_user_message(batch[entry["chat"]])
    if not isinstance(entry["text"], str):
        rows = batch.iter_rows(named=True)
        return pl.Series([joined_pieces(entry["text"], row) for row in rows], dtype=pl.String)
    pieces: list[pl.Expr] = []
    for text, name in _template_parts(entry["text"]):
        pieces.append(pl.lit(text))
        if name:
            pieces.append(pl.col(name).cast(pl.String).fill_null(""))
    return batch.select(pl.concat_str(pieces)).to_series()


def _letter(reference: Any, choices: Sequence[str]) -> str | None:
    """The letter of the right choice, given as a letter, as a number from 0, or as the choice itself."""
    text = str(reference).strip() if reference is not None else ""
    if text in choices:
        return string.ascii_uppercase[list(choices).index(text)]
    if text.isdigit() and int(text) < len(choices):
        return string.ascii_uppercase[int(text)]
    letter = text.upper()
    return letter if len(letter) == 1 and letter in string.ascii_uppercase[: len(choices)] else None


def shuffled_choices(question: str, correct: str, incorrect: Sequence[str]) -> tuple[list[str], str]:
    """The choices in an order given by the question's and their own hashes, and the letter of the correct one."""
    row = question_id(question)
    choices = sorted([correct, *incorrect], key=lambda choice: keyed_hash(0, row, salt=f"choice\0{choice}"))
    return choices, string.ascii_uppercase[choices.index(correct)]


def _with_choices(batch: pl.DataFrame, entry: Entry, questions: pl.Series) -> tuple[list[list[str]], list[str | None]]:
    """The choices of every row, and the letter of its right one."""
    columns, specification = _choice_columns(entry), entry["choices"]
    rows = batch.select(columns).iter_rows()
    if isinstance(specification, Mapping):
        pairs = [
            shuffled_choices(question or "", str(row[0]).strip(), [str(one).strip() for one in row[1:]])
            for question, row in zip(questions, rows, strict=True)
        ]
        return [choices for choices, _ in pairs], [letter for _, letter in pairs]
    whole = len(columns) == 1
    choices = [[str(one) for one in ((row[0] or ()) if whole else row) if one is not None] for row in rows]
    references = batch[entry["reference"]] if "reference" in entry else pl.Series([None] * len(choices))
    return choices, [_letter(reference, row) for reference, row in zip(references, choices, strict=True)]


def extract(batch: pl.DataFrame, entry: Entry, first_row: int, prefix: str = "") -> pl.DataFrame:
    """The ``RAW`` table of a batch whose first row is number ``first_row`` of the source.

    Rows that ``where`` leaves out are absent; the others keep the number they have in the source. ``prefix`` comes
    before the key, for sources made of several parts.
    """
    batch = batch.with_row_index("__row", offset=first_row)
    if "where" in entry:
        batch = batch.filter(_condition(entry["where"]))
    questions = question_texts(batch, entry)
    numbers = batch["__row"].cast(pl.String)
    key = (
        batch[entry["key"]].cast(pl.String).zip_with(batch[entry["key"]].is_not_null(), numbers)
        if "key" in entry
        else numbers
    )
    extra: dict[str, Any] = {}
    references: pl.Series | list[str | None] = [None] * batch.height
    if "reference" in entry:
        spelled = batch[entry["reference"]].cast(pl.String, strict=False)
        references = spelled.zip_with(spelled.str.contains(r"\S"), pl.Series([None], dtype=pl.String))
    if "choices" in entry:
        extra["choices"], references = _with_choices(batch, entry, questions)
    if "tests" in entry:
        tests = entry["tests"]
        rows = batch.select(programs.columns_of(tests)).iter_rows(named=True)
        found = [programs.metadata_of(tests, row) for row in rows]
        extra |= {key: [one.get(key) for one in found] for key in ("tests", "function", "time_limit")}
    return pl.DataFrame(
        {
            "source_row": pl.Series([prefix], dtype=pl.String) + key if prefix else key,
            "question": questions,
            "reference_answer": references,
            "metadata": list(_metadata(batch, entry, extra)),
        },
        schema=dict.fromkeys(RAW, pl.String),
    )


def _metadata(batch: pl.DataFrame, entry: Entry, extra: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    columns = _listed(entry.get("metadata"))
    if not columns and not extra:
        yield from ["{}"] * batch.height
        return
    for number, row in enumerate(batch.select(columns).iter_rows(named=True) if columns else [{}] * batch.height):
        values = {**row, **{name: column[number] for name, column in extra.items()}}
        kept = {name: value for name, value in values.items() if value is not None}
        yield json.dumps(kept, ensure_ascii=False, default=str)
