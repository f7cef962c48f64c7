r"""Mathematical equality of answers, decided by ``math-verify`` in worker processes with limits of their own.

``math-verify``'s own timeouts are off: they use signals, and turn "too slow" into "different". Here a comparison that
does not end is *unknown* (null), which is neither equal nor different.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from lib.extraction import after_reasoning, final_answer
from lib.workers import Workers

PRELOAD = ("sympy", "latex2sympy2_extended", "math_verify")
CPU_SECONDS = 5.0
"""Processor time allowed for one comparison or one grading."""

_NUMBER = re.compile(r"([-+]?)(\d[\d,]*)(?:\.(\d+))?(?:/(\d+))?")
_FRACTION = re.compile(r"([-+]?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+|\d+")
_NOISE = str.maketrans({"−": "-", "–": "-"})


def normalized(answer: str) -> str:
    """An answer without what never changes its value: outer ``$``, spacing commands, a final full stop."""
    text = answer.translate(_NOISE).strip()
    while len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    text = re.sub(r"\\[,;!:]|\\ |\\left|\\right|~", "", text).strip()
    return text.rstrip(".").strip()


def number(answer: str) -> Fraction | None:
    r"""The exact value of a plain number (``12,345``, ``-0.5``, ``3/4``, ``\frac{3}{4}``), or null."""
    text = normalized(answer).replace(" ", "")
    if fraction := _FRACTION.fullmatch(text):
        sign, numerator, denominator = fraction.groups()
        return Fraction(int(sign + numerator), int(denominator)) if int(denominator) else None
    match = _NUMBER.fullmatch(text)
    if not match or len(text) > 300:
        return None
    sign, whole, decimals, denominator = match.groups()
    if not _THOUSANDS.fullmatch(whole) or (decimals and denominator) or (denominator and int(denominator) == 0):
        return None
    value = Fraction(f"{sign}{whole.replace(',', '')}.{decimals or 0}")
    return value / int(denominator) if denominator else value


def equal_answers(pair: tuple[str, str]) -> bool:
    """Whether two final answers are mathematically equal (runs in a worker: it may not end)."""
    left, right = (_parse(_delimited(text)) for text in pair)
    return _verify(left, right) or _verify(right, left)


def _parse(text: str) -> list[object]:
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of the timeouts that are off on purpose
    return list(math_verify.parse(text, parsing_timeout=None))


def _verify(gold: list[object], answer: list[object]) -> bool:
    return any(_verify_one(left, right) for left in gold for right in answer)


def _verify_one(gold: object, answer: object) -> bool:
    """One comparison: an exception inside the algebra means different, running out of memory does not."""
    import math_verify

    try:
        return bool(math_verify.verify(gold, answer, timeout_seconds=None, raise_on_error=True))
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return False


def quick_equality(left: str, right: str) -> bool | None:
    """Equality that needs no algebra: same text, or both plain numbers; null where algebra must decide."""
    if normalized(left) == normalized(right):
        return True
    values = number(left), number(right)
    return values[0] == values[1] if values[0] is not None and values[1] is not None else None


def equalities(pairs: Iterable[tuple[str, str]], workers: Workers) -> Iterator[bool | None]:
    """For each pair of answers whether they are equal; null where the comparison was given up.

    ``workers`` run ``equal_answers``; the order is that of ``pairs``.
    """
    for outcome in workers.map(pairs):
        yield outcome.value


def equality_workers(count: int = 0, cpu_seconds: float = CPU_SECONDS) -> Workers:
    """Workers for ``equalities``."""
    return Workers(equal_answers, count, cpu_seconds, preload=PRELOAD)


def grade(response: str, reference: str, metadata: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Grade one response against a reference: what was extracted (null: nothing), and 1 or 0 (null with it).

    Runs in a worker: it may not end.
    """
    text = after_reasoning(response)
    if text is None:
        return None, None
    stated = final_answer(text)
    if stated is not None and quick_equality(reference, stated):
        return stated, 1.0
    parsed = _parse(text if stated is None else _delimited(stated))
    if not parsed:
        return None, None
    correct = _verify(_parse(_delimited(reference)), parsed)
    return stated if stated is not None else str(parsed[-1]), float(correct)


def _delimited(answer: str) -> str:
    return answer if "$" in answer or "\\boxed" in answer else f"\\boxed{{{answer}}}"
