"""Two texts beside each other, with what they have in common marked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from rapidfuzz.distance import LCSseq
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

SHORTEST_COMMON = 3
"""Common parts of fewer characters are not marked: two letters in a row are common to almost everything."""

OPEN, CLOSE = "‹", "›"
"""Marks where there is no colour."""

COLOUR = "bold green"

Span = tuple[int, int]


def common_parts(left: str, right: str) -> tuple[list[Span], list[Span]]:
    """Spans of both texts that a longest common subsequence matches in runs: what their similarity consists of."""
    blocks = [block for block in LCSseq.opcodes(left, right) if block.tag == "equal"]
    long = [block for block in blocks if block.src_end - block.src_start >= SHORTEST_COMMON]
    return [(block.src_start, block.src_end) for block in long], [(block.dest_start, block.dest_end) for block in long]


def occurrences(text: str, part: str) -> list[Span]:
    """The first place of ``part`` in ``text``, if it has one."""
    start = text.find(part)
    return [(start, start + len(part))] if part and start >= 0 else []


def side_by_side(
    left: str, right: str, marks: tuple[Sequence[Span], Sequence[Span]], width: int, colour: bool
) -> Iterator[str]:
    """Lines of two columns in ``width`` cells; marked spans are coloured, or bracketed where ``colour`` is false."""
    column = max(10, (width - 3) // 2)
    table = Table(box=box.ASCII, show_header=False, show_edge=False, pad_edge=False)
    for _ in range(2):
        table.add_column(width=column, overflow="fold")
    table.add_row(*(_marked(text, spans, colour) for text, spans in zip((left, right), marks, strict=True)))
    console = Console(width=2 * column + 3, force_terminal=colour, color_system="standard" if colour else None)
    with console.capture() as printed:
        console.print(table)
    yield from (line.rstrip() for line in printed.get().splitlines())


def _marked(text: str, spans: Sequence[Span], colour: bool) -> Text:
    """The text as it is shown, with its marks; ``spans`` are in order."""
    shown, end = Text(), 0
    for start, stop in spans:
        shown.append(_shown(text[end:start]))
        if colour:
            shown.append(_shown(text[start:stop]), COLOUR)
        else:
            shown.append(f"{OPEN}{_shown(text[start:stop])}{CLOSE}")
        end = stop
    return shown.append(_shown(text[end:]))


def _shown(text: str) -> str:
    """Characters that take the cells they are counted for: no tabs, control or formatting characters."""
    return "".join(
        " " if character == "\t" else "\N{REPLACEMENT CHARACTER}" if _is_unseen(character) else character
        for character in text
    )


def _is_unseen(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
