"""Which natural language a response is written in, offline (``py3langid``): its prose, not its formulas and code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context

from openthoughts.base.workers import usable_processors, use_short_temporary_folder

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_MATHEMATICS = re.compile(
    r"\$\$.*?\$\$|\$[^$\n]*\$|\\\[(?:(?!\\\[).)*?\\\]|\\\((?:(?!\\\().)*?\\\)|\\[A-Za-z]+|\{[^{}]*\}", re.DOTALL
)
_TAGS = re.compile(r"</?\w+>")
_WORD = re.compile(r"[A-Za-z\u00AA-\u1FFF\u2C00-\U0010FFFF]+")
"""Letters and the marks of scripts that write vowels as marks; not the blocks of signs, arrows and operators."""

PIECES = 4
PIECE_LETTERS = 300
"""Of a long text, this many pieces of this many letters, spread evenly, are looked at."""


def prose(text: str) -> str:
    """The words of a text, without code, formulas, tags, digits and signs; of a long one, evenly spread pieces."""
    for pattern in (_CODE, _MATHEMATICS, _TAGS):
        text = pattern.sub(" ", text)
    words = " ".join(word for word in _WORD.findall(text) if len(word) > 1 or not word.isascii())
    if len(words) <= PIECES * PIECE_LETTERS:
        return words
    step = (len(words) - PIECE_LETTERS) // (PIECES - 1)
    return " ".join(words[start : start + PIECE_LETTERS] for start in range(0, step * PIECES, step))


MANY = 512
"""So many texts are worth processes of their own."""


def languages(texts: Sequence[str], min_letters: int = 40) -> list[str | None]:
    """``language`` of each text, on all processors where there are many."""
    find = partial(language, min_letters=min_letters)
    if len(texts) < MANY or usable_processors() == 1:
        return [find(text) for text in texts]
    return list(_processes().map(find, texts, chunksize=64))


@cache
def _processes() -> ProcessPoolExecutor:
    """Processes that stay for the next texts; they end with this one."""
    use_short_temporary_folder()
    return ProcessPoolExecutor(usable_processors(), get_context("forkserver"))


def language(text: str, min_letters: int = 40) -> str | None:
    """The language (ISO 639-1) of a text's prose; null where it has fewer than ``min_letters`` letters to tell by.

    A letter of a script without spaces (Chinese, Japanese) counts four.
    """
    import py3langid

    words = prose(text)
    letters = sum(4 if ord(letter) > 0x2E7F else 1 for letter in words if letter != " ")
    if letters < min_letters:
        return None
    return str(py3langid.classify(words)[0])
