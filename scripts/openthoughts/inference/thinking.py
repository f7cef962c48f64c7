"""The one form that an answer has in every table of completions, whatever its server sent.

The store keeps text, reasoning and finish reason as they came; they are put into this form when they are read.
"""

from __future__ import annotations

import polars as pl

from openthoughts.base.reasoning import EMPTY, blank

ENDS = {
    **dict.fromkeys(
        ("max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit", "limit"), "length"
    ),
    **dict.fromkeys(("eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "completed", "complete"), "stop"),
}
"""Finish reasons by the names of other servers, in small letters."""

TAGS = (("<thinking>", "</thinking>"), ("<thought>", "</thought>"), ("[THINK]", "[/THINK]"))
"""Other tags that models put around their thinking."""


def finish_reason() -> pl.Expr:
    """Why an answer ended, in small letters and by OpenAI's names; an unknown name stays."""
    return pl.col("finish_reason").str.to_lowercase().replace(ENDS)


def split_thinking() -> dict[str, pl.Expr]:
    """``reasoning`` and ``text`` where a server left the thinking in the text, or sent it in both.

    Thinking ends at the first ``</think>``; ``<think>`` may be missing, as some chat templates give it with the prompt.
    Blocks of thinking that follow each other are one. Without ``</think>`` nothing is split. What the server split off
    and what stands in the text are put together, unless one is a part of the other. No letter is lost but those that
    stand twice. A ``</think>`` within a string of a JSON object is text.
    """
    text, reasoning = _with_our_tags(pl.col("text")), pl.col("reasoning")
    blocks = text.str.extract(r"(?s)\A((?:\s*<think>.*?</think>)+)")
    opened = blocks.str.replace_all(r"(?s)\s*</think>\s*<think>\s*", "\n\n")
    opened = opened.str.replace(r"\A\s*<think>", "").str.replace(r"</think>\z", "")
    before = text.str.extract(r"(?s)\A(.*?)</think>")
    begun = pl.when(~text.str.contains("<think>", literal=True) & ~_ends_in_a_string(before)).then(before)
    inside = pl.coalesce(opened, begun)
    rest = text.str.replace(r"(?s)\A(?:\s*<think>.*?</think>)+\s*", "")
    rest = pl.when(opened.is_null()).then(text.str.replace(r"(?s)\A.*?</think>\s*", "")).otherwise(rest)
    one, other = (part.str.strip_chars() for part in (reasoning, inside))
    is_split = inside.is_not_null() & (reasoning.is_null() | opened.is_not_null() | (one == other))
    joined = one + "\n\n" + other
    larger = pl.when(other.str.contains(one, literal=True)).then(inside).otherwise(joined)
    both = pl.when(one.str.contains(other, literal=True)).then(reasoning).otherwise(larger)
    return {
        "reasoning": pl.when(is_split & reasoning.is_not_null()).then(both).otherwise(pl.coalesce(reasoning, inside)),
        "text": pl.when(is_split).then(rest).otherwise(text),
    }


def _ends_in_a_string(text: pl.Expr) -> pl.Expr:
    """Whether a text ends within a string of a JSON object: a ``</think>`` that follows ends no thinking."""
    quotes = text.str.count_matches(r'(?:\A|[^\\])"')
    return (text.str.count_matches(r"\{") > text.str.count_matches(r"\}")) & (quotes % 2 == 1)


def _with_our_tags(text: pl.Expr) -> pl.Expr:
    """Thinking at the text's beginning in the tags of DeepSeek-R1."""
    found = text
    for opening, closing in TAGS:
        ours = text.str.replace(opening, "<think>", literal=True).str.replace(closing, "</think>", literal=True)
        found = pl.when(text.str.strip_chars_start().str.starts_with(opening)).then(ours).otherwise(found)
    return found


def whole_text() -> pl.Expr:
    """The text with the reasoning put in front of it, in the form of DeepSeek-R1; null for an answer that is empty."""
    opened = pl.lit("<think>\n") + pl.col("reasoning").str.strip_chars("\n")
    cut_short = blank(pl.col("text")) & (pl.col("finish_reason") == "length")
    closed = opened + "\n</think>\n\n" + pl.col("text")
    return (
        pl.when(_is_empty())
        .then(None)
        .when(pl.col("reasoning").is_null())
        .then(pl.col("text"))
        .when(cut_short.fill_null(False))
        .then(opened)
        .otherwise(closed)
    )


def error_of_answer() -> pl.Expr:
    """Why there is no answer; stores written by earlier versions hold empty ones without a reason."""
    return pl.when(pl.col("error").is_null() & _is_empty()).then(pl.lit(EMPTY)).otherwise(pl.col("error"))


def _is_empty() -> pl.Expr:
    """Whether an answer has neither text nor reasoning."""
    return blank(pl.col("text")) & blank(pl.col("reasoning"))
