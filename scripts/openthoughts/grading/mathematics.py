r"""Mathematical equality of answers, decided by ``math-verify`` in worker processes with limits of their own.

``math-verify``'s own timeouts are off: they use signals, and turn "too slow" into "different". Here a comparison that
does not end is *unknown* (null), which is neither equal nor different.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from openthoughts.base.reasoning import after_reasoning
from openthoughts.base.workers import Workers
from openthoughts.grading.extraction import LONGEST_ANSWER, final_answer
from openthoughts.grading.item import Item

PRELOAD = ("sympy", "latex2sympy2_extended", "math_verify")
CPU_SECONDS = 5.0
"""Processor time allowed for one comparison or one grading."""

LONGEST_NUMBER = 300
"""Characters; longer ones are left to algebra, which runs under a limit of time."""

_NUMBER = re.compile(r"([-+]?)(\d[\d,]*)(?:\.(\d+))?(?:/(\d+))?")
_FRACTION = re.compile(r"([-+]?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}")
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+|\d+")
_NOISE = str.maketrans({"−": "-", "–": "-"})


def normalized(answer: str) -> str:
    r"""An answer without what never changes its value: outer ``$``, ``\text{}``, spacing, a final full stop."""
    text = answer.translate(_NOISE).strip()
    while len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    text = " ".join(re.sub(r"\\[,;!:]|\\ |\\left\b|\\right\b|~", "", text).split())
    if wrapped := _TEXT.fullmatch(text):
        text = wrapped.group(1).strip()
    text = re.sub(r"\s*([,()\[\]{}=+\-*/^<>])\s*", r"\1", text)
    return text.rstrip(".").strip()


def number(answer: str) -> Fraction | None:
    r"""The exact value of a plain number (``12,345``, ``-0.5``, ``3/4``, ``\frac{3}{4}``), or null."""
    text = normalized(answer).replace(" ", "")
    if len(text) > LONGEST_NUMBER:
        return None
    if fraction := _FRACTION.fullmatch(text):
        sign, numerator, denominator = fraction.groups()
        return Fraction(int(sign + numerator), int(denominator)) if int(denominator) else None
    match = _NUMBER.fullmatch(text)
    if not match:
        return None
    sign, whole, decimals, denominator = match.groups()
    if not _THOUSANDS.fullmatch(whole) or (decimals and denominator) or (denominator and int(denominator) == 0):
        return None
    value = Fraction(f"{sign}{whole.replace(',', '')}.{decimals or 0}")
    return value / int(denominator) if denominator else value


def equal_answers(pair: tuple[str, str]) -> bool:
    """Whether two final answers are mathematically equal (runs in a worker: it may not end)."""
    left, right = (_parse(_delimited(text)) for text in pair)
    if "%" not in pair[0] + pair[1] and _clearly_different(left, right):
        return False
    return _verify(left, right) or _verify(right, left)


def _clearly_different(left: list[Any], right: list[Any]) -> bool:
    """Whether two plain expressions differ by more than 1 % where their variables have values of our choice.

    Sound for expressions (not for equations, sets and tuples, which are left to ``math-verify``), and much quicker than
    its algebra, which simplifies the difference of every two expressions that are not equal.
    """
    if not left or not right or {text for text in left if isinstance(text, str)} & set(map(str, right[1:])):
        return False
    one, other = _value(left[0]), _value(right[0])
    return one is not None and other is not None and abs(one - other) > 0.01 * max(abs(one), abs(other))


def _value(expression: Any) -> complex | None:
    """The value of an expression with each variable at a number made from its name; null for anything else."""
    import sympy

    if not isinstance(expression, sympy.Expr) or any(len(str(symbol)) > 1 for symbol in expression.free_symbols):
        return None  # a word is read as one symbol or as a product of letters
    variables = sorted(expression.free_symbols, key=str)
    point = {symbol: 0.5 + sum(map(ord, str(symbol))) % 89 / 61 for symbol in variables}
    try:
        value = complex(expression.evalf(10, subs=point))
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    return value if math.isfinite(value.real) and math.isfinite(value.imag) else None


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
    """Equality that needs no algebra; null where algebra must decide.

    Same text; plain numbers; tuples or intervals of plain numbers in the same brackets.
    """
    one, other = normalized(left), normalized(right)
    if one == other:
        return True
    values = _numbers(one), _numbers(other)
    if values[0] is None or values[1] is None or len(values[0]) != len(values[1]):
        return None
    return values[0] == values[1] if one[:1] + one[-1:] == other[:1] + other[-1:] or len(values[0]) == 1 else None


def _numbers(text: str) -> list[Fraction] | None:
    """The value of a plain number, or the values of a bracketed tuple of them; null for anything else."""
    single = number(text)
    if single is not None:
        return [single]
    if not re.fullmatch(r"[(\[][^()\[\]]+,[^()\[\]]+[)\]]", text):
        return None
    values = [number(part) for part in text[1:-1].split(",")]
    return None if None in values else [value for value in values if value is not None]


def equalities(pairs: Iterable[tuple[str, str]], workers: Workers) -> Iterator[bool | None]:
    """For each pair of answers whether they are equal; null where the comparison was given up.

    ``workers`` run ``equal_answers``; the order is that of ``pairs``.
    """
    for outcome in workers.map(pairs):
        yield outcome.value


def equality_workers(count: int = 0, cpu_seconds: float = CPU_SECONDS) -> Workers:
    """Workers for ``equalities``."""
    return Workers(equal_answers, count, cpu_seconds, preload=PRELOAD)


def grade(response: str, item: Item) -> tuple[str | None, float | None]:
    """Grade one response against a reference: what was extracted (null: nothing), and 1 or 0 (null with it).

    Where no answer is stated, ``math-verify`` looks for one in the end of the response. Runs in a worker: it may not
    end.
    """
    text = after_reasoning(response)
    if text is None:
        return None, None
    stated = final_answer(text)
    if stated is not None and quick_equality(item.expected, stated):
        return stated, 1.0
    parsed = _parse(text[-LONGEST_ANSWER:] if stated is None else _delimited(stated))
    if not parsed:
        return None, None
    correct = _verify(_parse(_delimited(item.expected)), parsed)
    return stated if stated is not None else str(parsed[-1]), float(correct)


def _delimited(answer: str) -> str:
    return answer if "$" in answer or "\\boxed" in answer else f"\\boxed{{{answer}}}"
