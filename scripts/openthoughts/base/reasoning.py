"""A response in the form of DeepSeek-R1: reasoning between ``<think>`` and ``</think>``, then the answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

TAG_NAMES = ("think", "thinking", "thought", "reasoning", "seed:think")
"""Names of the tags that models put around their thinking."""

EMPTY = "the answer is empty"
"""The reason of a failure that brought no text."""

BLANKS = (
    r"\s\x00-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0"
)
"""Characters that show nothing, as a class of regular expressions: blanks, controls, those of no width."""


def is_blank(text: str | None) -> bool:
    """Whether a text shows nothing; so does null."""
    return re.fullmatch(f"[{BLANKS}]*", text or "") is not None


def blank(text: pl.Expr) -> pl.Expr:
    """``is_blank`` of a column."""
    return text.fill_null("").str.contains(f"^[{BLANKS}]*$")


def without_answer(text: pl.Expr, finish_reason: pl.Expr) -> pl.Expr:
    """Whether a response says nothing but, at most, its reasoning; null texts say nothing.

    Reasoning that the token limit cut is a response: ``finish_reason`` is ``length`` then.
    """
    import polars as pl

    opened = text.str.replace(r"(?s)\A\s*<think>.*?(?:</think>|\z)", "")
    begun = text.str.replace(r"(?s)\A.*?</think>", "")
    answer = pl.when(text.str.contains("<think>", literal=True)).then(opened).otherwise(begun)
    reasoning = text.str.replace_all(r"</?think>", "")
    was_cut = (finish_reason == "length").fill_null(False)
    return blank(answer) & (~was_cut | blank(reasoning))


def is_empty_answer(text: pl.Expr, finish_reason: pl.Expr, error: pl.Expr) -> pl.Expr:
    """Whether a response is what the funnel calls an empty answer, or a failure for that reason."""
    said_nothing = text.is_not_null() & without_answer(text, finish_reason)
    return said_nothing | error.str.starts_with(EMPTY).fill_null(False)


def split_reasoning(text: str) -> tuple[str, str | None]:
    """The reasoning of a response, without its tags, and its answer: what follows the last ``</think>``.

    A response without tags is an answer; one that opens ``<think>`` and never closes it has none.
    """
    before, closed, answer = text.rpartition("</think>")
    if not closed and "<think>" not in text:
        return "", text
    return (before if closed else text).replace("<think>", "", 1).strip(), answer if closed else None


def after_reasoning(text: str) -> str | None:
    """The answer of a response; null where its reasoning was never closed."""
    return split_reasoning(text)[1]
