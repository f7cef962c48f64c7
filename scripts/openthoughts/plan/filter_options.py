"""The options of the filters of answers, and what is wrong with some: known before anything is asked or computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openthoughts.base.cli import UserError

Options = Mapping[str, Any]

COUNTS: Options = {"keep": None, "keep_per_question": None, "seed": 42}
"""Options of every filter: how many of the answers that pass are kept, in all and of each drawn question.

They are chosen by the filter's ranking; where it has none, by a draw of this seed that grows with its size.
"""

OPTIONS: Mapping[str, Options] = {
    "none": {},
    "random": {},
    "shortest": {"unit": "tokens"},
    "longest": {"unit": "tokens"},
    "majority": {"ties": "first", "min_agreement": 0.0},
    "reference": {"last_number": True},
    "complete": {},
    "language": {"language": "en", "min_letters": 40},
    "short_paragraphs": {"max_characters": None},
    "python": {},
    "columns": {"where": None, "nulls": "drop"},
    "fasttext": {"at_least": None, "unlabelled": "drop"},
    "llm_verification": {"unlabelled": "drop"},
}
"""The options of every filter beside COUNTS, with their defaults."""

WANTED: Mapping[str, tuple[str, ...]] = {
    "random": ("keep", "keep_per_question"),
    "shortest": ("keep", "keep_per_question"),
    "longest": ("keep", "keep_per_question"),
    "short_paragraphs": ("max_characters",),
    "columns": ("where",),
    "fasttext": ("keep", "keep_per_question", "at_least"),
}
"""The options of a filter of which one at least must be given."""

VALUES: Mapping[str, tuple[str, str]] = {
    "unit": ("tokens", "characters"),
    "ties": ("first", "drop"),
    "nulls": ("drop", "keep"),
    "unlabelled": ("drop", "keep"),
}
"""The values of an option that has few."""

WHOLE_NUMBERS = ("keep", "keep_per_question", "max_characters", "min_letters")
NUMBERS = ("min_agreement", "at_least", "seed")

COLUMNS = (
    "agreement", "ties", "pass_rate", "difficulty_from_answers", "truncated", "in_majority", "correct",
    "prompt_tokens", "completion_tokens",
)  # fmt: skip
"""What the filter ``columns`` can look at, of MEASURES."""


def checked_options(name: str, options: Options) -> dict[str, Any]:
    """The options of filter ``name`` with its defaults.

    Raises ``UserError`` for an unknown filter or option, one that is missing, and a value that makes no sense.
    """
    if name not in OPTIONS:
        raise UserError(f"there is no answer filter {name!r}: use one of {', '.join(sorted(OPTIONS))}.")
    known = {**COUNTS, **OPTIONS[name]}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"the answer filter {name!r} has no option {unknown[0]!r}: use {', '.join(sorted(known))}.")
    chosen = {**known, **options}
    wanted = WANTED.get(name, ())
    if wanted and all(chosen[option] is None for option in wanted):
        raise UserError(f"the answer filter {name!r} needs the option {' or '.join(wanted)}.")
    for option, value in chosen.items():
        if value is not None or known[option] is not None:
            _check_value(option, value)
    return chosen


def _check_value(option: str, value: Any) -> None:
    """Raise ``UserError`` where an option cannot have this value."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option in VALUES and value not in VALUES[option]:
        raise UserError(f"the option {option} is {value!r}: use {' or '.join(VALUES[option])}.")
    if option in WHOLE_NUMBERS and not (number and isinstance(value, int) and value >= 1):
        raise UserError(f"the option {option} is {value!r}: give a whole number from 1.")
    if option in NUMBERS and not number:
        raise UserError(f"the option {option} is {value!r}: give a number.")
    if option == "language" and not isinstance(value, str):  # `no` without quotes is a truth value in YAML
        raise UserError(f"the option language is {value!r}: give a text, such as 'en'.")
    if option == "where":
        _check_conditions(value)


def _check_conditions(where: Any) -> None:
    """Raise ``UserError`` unless it maps columns to a value each, or to the two ends of a range (null is open)."""
    if not isinstance(where, Mapping) or not where:
        raise UserError(f"the option where is {where!r}: give conditions, such as {{agreement: [0.5, 1]}}.")
    for name, condition in where.items():
        if name not in COLUMNS:
            raise UserError(f"the option where has no column {name!r}: use {', '.join(COLUMNS)}.")
        ends = condition if isinstance(condition, list | tuple) else [condition, condition]
        if len(ends) != 2 or any(isinstance(end, str) for end in ends) or ends == [None, None]:
            raise UserError(f"the option where asks {condition!r} of {name}: give a value, or a range [least, most].")
