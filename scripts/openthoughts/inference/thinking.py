"""The one form that an answer has in every table of completions, whatever its server sent.

The store keeps text, reasoning and finish reason as they came; they are put into this form when they are read.
"""

from __future__ import annotations

import re

import polars as pl

from openthoughts.base.reasoning import EMPTY, TAG_NAMES, blank
from openthoughts.inference.finish import ENDS

_HEADER = r"(?:<\|start\|>assistant)?<\|channel\|>"
_FINAL = _HEADER + r"final<\|message\|>"

TAGS = tuple(
    (re.compile(rf"\s*(?:{opening})", re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        *((f"<{name}>", f"</{name}>") for name in TAG_NAMES),
        (r"\[THINK\]", r"\[/THINK\]"),
        ("◁think▷", "◁/think▷"),
        (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
        (_HEADER + r"(?:analysis|commentary)<\|message\|>", rf"<\|end\|>|(?={_FINAL})"),
    )
)
"""What models put before and after their thinking; the last is gpt-oss's."""

_ANY_END = re.compile("</think>")
_ENDS_LEFT = re.compile(r"\A(?:\s*</think>)+\s*")

LONGEST_TAG = 40

AROUND_ANSWER = (
    (re.compile(rf"\s*(?:{_FINAL})+\s*"), ("<|return|>", "<|end|>")),
    (re.compile(r"\s*<\|begin_of_solution\|>\s*"), ("<|end_of_solution|>",)),
)
"""What models put before and after their answer."""

_LEAD = re.compile("(?:[\\s\ufeff\u200b]|assistant\n)*")
"""What may stand before the first tag: blanks, a byte order mark, the end of the chat template's header."""


def finish_reason() -> pl.Expr:
    """Why an answer ended, in small letters and by OpenAI's names; an unknown name stays."""
    return pl.col("finish_reason").str.strip_chars().str.to_lowercase().replace(ENDS)


def split_thinking(table: pl.DataFrame) -> pl.DataFrame:
    """A table with ``text`` and ``reasoning`` as ``split`` gives them.

    Row by row, as expressions of one pattern that holds a whole text take minutes for a shard.
    """
    rows = [split(text, reasoning) for text, reasoning in table.select("text", "reasoning").iter_rows()]
    texts = pl.Series("text", [text for text, _ in rows], dtype=pl.String)
    return table.with_columns(texts, pl.Series("reasoning", [reasoning for _, reasoning in rows], dtype=pl.String))


def split(text: str | None, reasoning: str | None) -> tuple[str | None, str | None]:
    """Text and reasoning where a server left the thinking in the text, or sent it in both.

    Thinking ends at the first ``</think>``; ``<think>`` may be missing, as some chat templates give it with the prompt.
    Blocks of thinking that follow each other are one. Without ``</think>`` nothing is split. What the server split off
    and what stands in the text are put together, unless one is a part of the other. No letter is lost but those that
    stand twice, and the tags. A ``</think>`` within a string of a JSON object is text.
    """
    reasoning = None if reasoning is None else _without_tags(reasoning)
    if text is None:
        return None, reasoning
    inside, rest, is_closed = _opened(text)
    if inside is None:
        inside, rest = _begun(text)
        is_again = inside is not None and inside.strip() in ("", (reasoning or "").strip())
        if inside is None or not (reasoning is None or is_again):
            return _unwrapped(text), reasoning
    elif not is_closed and reasoning is None:
        return "<think>" + inside, None
    inside, rest = inside.replace("</think>", ""), _ENDS_LEFT.sub("", rest)
    return _unwrapped(rest), inside if reasoning is None else _both(reasoning, inside)


def _opened(text: str) -> tuple[str | None, str, bool]:
    """The thinking in the blocks at a text's beginning, null where it has none, what follows, and whether it ends."""
    begin = _LEAD.match(text)
    start = begin.end() if begin else 0
    for opening, closing in TAGS:
        if not (opened := opening.match(text, start)):
            continue
        if not (closed := closing.search(text, opened.end()) or _ANY_END.search(text, opened.end())):
            return text[opened.end() :], "", False
        inside = text[opened.end() : closed.start()]
        while (again := opening.match(text, closed.end())) and (further := closing.search(text, again.end())):
            inside = inside.rstrip() + "\n\n" + text[again.end() : further.start()].lstrip()
            closed = further
        return inside, text[closed.end() :].lstrip(), True
    return None, text, False


def _begun(text: str) -> tuple[str | None, str]:
    """The thinking of a text that only ends it, null where it has none, and what follows."""
    before, closed, rest = text.partition("</think>")
    if not closed or "<think>" in text or _ends_in_a_string(before):
        return None, text
    return before, rest.lstrip()


def _both(reasoning: str, inside: str) -> str:
    """Thinking from two places, once where one holds the other."""
    one, other = reasoning.strip(), inside.strip()
    if other in one:
        return reasoning
    return inside if one in other else f"{one}\n\n{other}"


def _ends_in_a_string(text: str) -> bool:
    """Whether a text ends within a string of a JSON object: a ``</think>`` that follows ends no thinking."""
    return text.count("{") > text.count("}") and len(re.findall(r'(?<!\\)"', text)) % 2 == 1


def _unwrapped(text: str) -> str:
    """An answer without what models put around it."""
    for before, after in AROUND_ANSWER:
        if found := before.match(text):
            text = text[found.end() :]
            for mark in after:
                if text.rstrip().endswith(mark):
                    text = text.rstrip().removesuffix(mark).rstrip()
    return text


def _without_tags(reasoning: str) -> str:
    """Thinking without the tags around it, and without any ``</think>`` within, after which an answer would begin."""
    begin = _LEAD.match(reasoning)
    start = begin.end() if begin else 0
    for opening, closing in TAGS:
        if opened := opening.match(reasoning, start):
            reasoning = reasoning[opened.end() :]
        stripped = reasoning.rstrip()
        place = max(0, len(stripped) - LONGEST_TAG)
        if closed := re.search(rf"(?:{closing.pattern})\Z", stripped[place:], re.IGNORECASE):
            reasoning = stripped[: place + closed.start()]
    if "</think>" in reasoning:
        first, *blocks = re.split(r"</think>\s*<think>", reasoning)
        if blocks:
            *between, last = blocks
            reasoning = "\n\n".join([first.rstrip(), *(each.strip() for each in between), last.lstrip()])
        reasoning = reasoning.replace("</think>", "")
    return reasoning


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
