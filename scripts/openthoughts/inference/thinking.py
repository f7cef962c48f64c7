"""The one form that an answer has in every table of completions, whatever its server sent.

The store keeps text, reasoning and finish reason as they came; they are put into this form when they are read.
"""

from __future__ import annotations

import polars as pl

from openthoughts.base.reasoning import EMPTY, blank
from openthoughts.inference.finish import ENDS

_HEADER = r"(?:<\|start\|>assistant)?<\|channel\|>"
_FINAL = _HEADER + r"final<\|message\|>"

TAGS = (
    *((f"<{name}>", f"</{name}>") for name in ("think", "thinking", "thought", "reasoning", "seed:think")),
    (r"\[THINK\]", r"\[/THINK\]"),
    ("◁think▷", "◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (_HEADER + r"(?:analysis|commentary)<\|message\|>", rf"(?:<\|end\|>|{_FINAL})"),
)
"""What models put around their thinking, as regular expressions; the last is gpt-oss's."""

LEAD = "(?:[\\s\ufeff\u200b]|assistant\n)*"
"""What may stand before the first tag: blanks, a byte order mark, the end of the chat template's header."""

AROUND_TEXT = ((_FINAL, r"<\|(?:return|end)\|>"), (r"<\|begin_of_solution\|>", r"<\|end_of_solution\|>"))
"""What models put around their answer."""


def finish_reason() -> pl.Expr:
    """Why an answer ended, in small letters and by OpenAI's names; an unknown name stays."""
    return pl.col("finish_reason").str.strip_chars().str.to_lowercase().replace(ENDS)


def split_thinking() -> dict[str, pl.Expr]:
    """``reasoning`` and ``text`` where a server left the thinking in the text, or sent it in both.

    Thinking ends at the first ``</think>``; ``<think>`` may be missing, as some chat templates give it with the prompt.
    Blocks of thinking that follow each other are one. Without ``</think>`` nothing is split. What the server split off
    and what stands in the text are put together, unless one is a part of the other. No letter is lost but those that
    stand twice, and the tags. A ``</think>`` within a string of a JSON object is text.
    """
    text, reasoning = pl.col("text"), _without_tags(pl.col("reasoning"))
    opened, rest, text = _blocks(text)
    is_open = reasoning.is_not_null() & text.str.starts_with("<think>")
    opened = pl.coalesce(opened, pl.when(is_open).then(text.str.strip_prefix("<think>")))
    rest = pl.coalesce(rest, pl.when(is_open).then(pl.lit("")))
    before = text.str.extract(r"(?s)\A(.*?)</think>")
    begun = pl.when(~text.str.contains("<think>", literal=True) & ~_ends_in_a_string(before)).then(before)
    inside = pl.coalesce(opened, begun)
    rest = pl.coalesce(rest, text.str.replace(r"(?s)\A.*?</think>\s*", ""))
    one, other = (part.str.strip_chars() for part in (reasoning, inside))
    is_again = (one == other) | (other == "")
    is_split = inside.is_not_null() & (reasoning.is_null() | opened.is_not_null() | is_again)
    joined = one + "\n\n" + other
    larger = pl.when(other.str.contains(one, literal=True)).then(inside).otherwise(joined)
    both = pl.when(one.str.contains(other, literal=True)).then(reasoning).otherwise(larger)
    return {
        "reasoning": pl.when(is_split & reasoning.is_not_null()).then(both).otherwise(pl.coalesce(reasoning, inside)),
        "text": pl.when(is_split).then(rest).otherwise(text),
    }


def _blocks(text: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """The thinking in the blocks at a text's beginning and what follows them, null where it has none; and the text.

    In the text, a tag that opens thinking and is never closed is ``<think>``.
    """
    inside, rest, whole = [], [], text
    for opening, closing in TAGS:
        start = rf"\A{LEAD}{opening}"
        blocks = rf"(?is)({start}.*?{closing}(?:\s*{opening}.*?{closing})*)"
        found = text.str.extract(blocks).str.replace(rf"(?i){start}", "").str.replace(rf"(?i){closing}\z", "")
        inside.append(found.str.replace_all(rf"(?i)\s*{closing}\s*{opening}\s*", "\n\n"))
        is_gpt_oss = opening.startswith(_HEADER)  # the answer's header may be taken for the end of the thinking
        answer = text.str.replace(rf"{blocks}\s*", "<|channel|>final<|message|>" if is_gpt_oss else "")
        rest.append(pl.when(found.is_not_null()).then(answer))
        whole = whole.str.replace(rf"(?i){start}", "<think>")
    return pl.coalesce(inside), _unwrapped(pl.coalesce(rest)), _unwrapped(whole)


def _unwrapped(text: pl.Expr) -> pl.Expr:
    """An answer without what models put around it."""
    for before, after in AROUND_TEXT:
        bare = text.str.replace(rf"\A\s*(?:{before})+\s*", "").str.replace(rf"\s*{after}\s*\z", "")
        text = pl.when(text.str.contains(rf"\A\s*{before}")).then(bare).otherwise(text)
    return text


def _without_tags(reasoning: pl.Expr) -> pl.Expr:
    """Thinking without the tags around it, and without any ``</think>`` within, after which an answer would begin."""
    openings, closings = ("|".join(tags) for tags in zip(*TAGS, strict=True))
    bare = reasoning.str.replace(rf"(?i)\A{LEAD}(?:{openings})", "").str.replace(rf"(?i)(?:{closings})\s*\z", "")
    return bare.str.replace_all(r"\s*</think>\s*<think>\s*", "\n\n").str.replace_all("</think>", "", literal=True)


def _ends_in_a_string(text: pl.Expr) -> pl.Expr:
    """Whether a text ends within a string of a JSON object: a ``</think>`` that follows ends no thinking."""
    quotes = text.str.count_matches(r'(?:\A|[^\\])"')
    return (text.str.count_matches(r"\{") > text.str.count_matches(r"\}")) & (quotes % 2 == 1)


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
