"""Two texts beside each other, with what they have in common marked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from rapidfuzz.distance import LCSseq

SHORTEST_COMMON = 3
"""Common parts of fewer characters are not marked: two letters in a row are common to almost everything."""

OPEN, CLOSE = "‹", "›"
"""Marks where there is no colour."""

_COLOUR, _PLAIN = "\x1b[1;32m", "\x1b[0m"

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
    columns = [_lines(text, spans, column, colour) for text, spans in zip((left, right), marks, strict=True)]
    blank = " " * column
    for row in range(max(map(len, columns))):
        cells = [lines[row] if row < len(lines) else blank for lines in columns]
        yield f"{cells[0]} | {cells[1]}".rstrip()


def _lines(text: str, spans: Sequence[Span], width: int, colour: bool) -> list[str]:
    """The text wrapped at blanks and padded to ``width`` cells."""
    characters = list(_characters(text, spans, colour))
    lines: list[str] = []
    start = 0
    while start < len(characters) or not lines:
        end, following = _line_end(characters, start, width)
        lines.append(_rendered(characters[start:end], width, colour))
        start = following
    return lines


def _line_end(characters: list[tuple[str, bool]], start: int, width: int) -> tuple[int, int]:
    """Where the line from ``start`` ends, and where the next one starts."""
    used, blank = 0, -1
    for position in range(start, len(characters)):
        character = characters[position][0]
        used += _cells(character)
        if character == "\n":
            return position, position + 1
        if used > width:
            end = blank + 1 if blank > start else max(position, start + 1)
            return end, end
        if character == " ":
            blank = position
    return len(characters), len(characters)


def _rendered(characters: list[tuple[str, bool]], width: int, colour: bool) -> str:
    line, before = "", False
    for character, marked in characters:
        if colour and marked != before:
            line, before = line + (_COLOUR if marked else _PLAIN), marked
        line += character
    used = sum(_cells(character) for character, _ in characters)
    return line + (_PLAIN if before else "") + " " * (width - used)


def _characters(text: str, spans: Sequence[Span], colour: bool) -> Iterator[tuple[str, bool]]:
    """Characters as they are shown, and whether they are marked; brackets are added where there is no colour."""
    joined = {end for _, end in spans} & {start for start, _ in spans}
    starts, ends = {start for start, _ in spans} - joined, {end for _, end in spans} - joined
    marked = False
    for position, character in enumerate(text):
        if position in starts or position in ends:
            marked = position in starts
            if not colour:
                yield OPEN if marked else CLOSE, False
        yield (character if character == "\n" else _shown(character)), marked
    if len(text) in ends and not colour:
        yield CLOSE, False


def _shown(character: str) -> str:
    """A character that takes the cells it is counted for: no tabs, control or formatting characters."""
    if character == "\t":
        return " "
    return (
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else character
    )


def _cells(character: str) -> int:
    if character == "\n" or unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
