"""Generated texts for readers of what models write: formulas, prose, tags, code and JSON, broken in every way.

Six kinds, drawn in turn: a mix of pieces, a few pieces repeated very often, deep brackets, long numbers, a usual answer
with its pieces moved, doubled or cut, and characters of every category of Unicode.
"""

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache

MOST_CHARACTERS = 120_000

COMMANDS = r"""
frac dfrac tfrac cfrac sqrt boxed fbox text textbf textit textrm texttt mathrm mathbf mathit mathsf mathcal mathbb
operatorname left right bigl bigr big Big begin end pm mp infty cdot times div pi alpha beta theta le ge ne leq geq neq
approx equiv in notin cup cap subset emptyset binom sum prod int lim log ln sin cos tan arcsin vec hat bar overline
underline langle rangle lfloor rfloor lceil rceil mid to implies iff forall exists ldots cdots dots circ degree angle
triangle perp parallel sim cong mod pmod bmod gcd lcm max min over choose color textcolor hspace vspace quad qquad ce
underbrace overset tag label displaystyle limits mathbin
"""

WORDS = r"""
\begin{cases} \end{cases} \begin{pmatrix} \end{pmatrix} \, \; \! \: \( \) \[ \] \\ \% \$ \{ \} \& \# \_ \u \x \n \"
{ } {} ( ) () [ ] [] $ $$ ^ _ = + - * / % . , ; : ! ? < > | ~ ` ``` ~~~ \ " "" \" ' ''' & @ # ## ### ** __ > |---|
0 1 9 12,345 0.5 .5 5. 3/4 1e999 1e-999 -0 +7 1.2.3 1_000 0x1F NaN Infinity -Infinity ٣ ½ ² 十 Ⅷ ∞ − – — € £ é ß İ
中文 العربية हिन्दी “ ” ‘ ’ … ，（ ） ： 。
<think> </think> <thinking> </thinking> <answer> </answer> <ANSWER> <b> </b> <br/> <div class="x"> </div> <!-- -->
&lt; &amp; <|im_end|> <|im_start|>
answer is the Final answer: Answer: **Answer:** **Final Solution** option choice correct therefore A B C D E F (C) (D)
[B] Yes No and or null None true True false False ```json ```python ```text #### print(1) import os
{"difficulty": "difficulty": {"passes":true "passes": {"response": "reasoning":" "reasoning": // /* */ 7, 7} "7"} ]} }}
"""
PIECES = (
    *WORDS.split(), *(f"\\{name}" for name in COMMANDS.split()), *(f"\\{name}{{" for name in COMMANDS.split()),
    "\n", "\n\n", "\t", "\r", "\r\n", " ", "    ", "x", "y", "The answer is ",
    *"\x00\x1b\x1c\x85\xa0\u2028\u200b\u202e\ufeff\ufffd\u0301\U0001f600",
)  # fmt: skip

BRACKETS = (
    ("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("$", "$"), ("**", "**"), ('"', '"'), (r"\(", r"\)"),
    (r"\[", r"\]"),
    (r"\left(", r"\right)"), (r"\frac{1}{", "}"), (r"\frac{", "}{2}"), (r"\sqrt{", "}"), (r"\boxed{", "}"), ("^{", "}"),
    (r"\text{", "}"), ("<think>", "</think>"), ("<answer>", "</answer>"), ("<b>", "</b>"), ("```\n", "\n```\n"),
    ('{"difficulty": ', "}"), ('{"a": [', "]}"), ("> ", "\n"), ("- ", "\n"), (r"\begin{cases}", r"\end{cases}"),
)  # fmt: skip

NUMBERS = (
    "{}", "-{}", "{}.{}", "{}/{}", r"\frac{{{}}}{{{}}}", "{}e{}", "1e{}", "{}^{}", "{}!", "({}, {})", "{}%", "${}$",
    r"\boxed{{{}}}", "The answer is {}.", '{{"difficulty": {}}}', '{{"difficulty": {}.{}}}', r"\sqrt{{{}}}", "0x{}",
    "{}{}{}", "{},{}", "[{}", "{}_{}", "answer: {} {}",
)  # fmt: skip

USUAL = (
    "<think>\nFirst {x}, then {y}.\n</think>\n\nThe answer is \\boxed{\\frac{3}{4}}.",
    "**Step 1.** Let $x = 3$.\n\n1. a\n2. b\n\n| n | f(n) |\n|---|---|\n| 1 | 2 |\n\n**Answer: (B)** 12,345 km",
    '<think>A 4: {"difficulty": 4}</think>\n```json\n{"reasoning": "uses \\\\frac{1}{2}", "difficulty": 7}\n```\nDone.',
    '{"reasoning": "a \\"quoted\\" word, and {braces}", "passes": true, "response": 55.5}',
    "```python\ndef f(n):\n    return f'{n}' # \\n\nprint(f(3))\n```\nIt prints `3`.",
    "<p>The <b>final</b> answer is <answer>x &lt; 3</answer>.</p> <!-- \\[x<3\\] -->",
    "Therefore $$\\left(\\frac{1}{2}, \\infty\\right) \\cup \\{-1\\}$$ and A, B and D are correct; option C is not.",
    "最终答案是：\\boxed{\\text{（C）}}。 Die Lösung ist 3,5 €. الإجابة هي ٣٫٥",
)


@cache
def _characters() -> tuple[tuple[str, ...], ...]:
    """All characters but surrogates, by their category."""
    found: dict[str, list[str]] = {}
    for number in range(sys.maxunicode + 1):
        found.setdefault(unicodedata.category(chr(number)), []).append(chr(number))
    return tuple(tuple(held) for name, held in sorted(found.items()) if name != "Cs")


def _mix(draw: random.Random) -> str:
    parts = draw.choices(PIECES, k=draw.choice((1, 2, 3, 5, 8, 20, 60)))
    return draw.choice(("", "", " ", "\n")).join(parts)


def _repeated(draw: random.Random) -> str:
    few = draw.choice(("", " ")).join(draw.choices(PIECES, k=draw.randint(1, 4)))
    many = few * min(_often(draw), MOST_CHARACTERS // len(few))
    return draw.choice(("", _mix(draw))) + many + draw.choice(("", _mix(draw)))


def _deep(draw: random.Random) -> str:
    pairs = draw.choices(BRACKETS, k=draw.randint(1, 3))
    one = "".join(opening for opening, _ in pairs)
    end = "".join(closing for _, closing in reversed(pairs))
    count = min(_often(draw), MOST_CHARACTERS // len(one + end))
    closed = draw.choice((count, count, count - 1, count + 1, count // 2, 0))
    return draw.choice(("", "So ")) + one * count + draw.choice(PIECES) + end * max(0, closed) + draw.choice(PIECES)


def _numbers(draw: random.Random) -> str:
    digits = [draw.choice("123456789") * draw.choice((1, 2, 18, 40, 299, 400)) for _ in range(3)]
    if draw.random() < 0.3:
        digits[draw.randrange(3)] = draw.choice(("0", "1", "9", "٣", "1,", "123,", "１", "1 ")) * _often(draw)
    return draw.choice(NUMBERS).format(*digits)


def _moved(draw: random.Random) -> str:
    text = draw.choice(USUAL)
    for _ in range(draw.randint(1, 6)):
        begin, end = sorted(draw.choices(range(len(text) + 1), k=2))
        end = min(end, begin + draw.choice((1, 2, 10, 1000)))
        piece = draw.choice(("", "", draw.choice(PIECES), text[begin:end] * draw.choice((2, 3, 40))))
        text = (text[:begin] + piece + text[end:])[:20_000]
    return text[: draw.randrange(len(text) + 1)] if draw.random() < 0.3 else text


def _unicode(draw: random.Random) -> str:
    parts = [draw.choice(draw.choice(_characters())) for _ in range(draw.choice((1, 3, 10, 80)))]
    if draw.random() < 0.2:
        parts[0] *= _often(draw)
    return draw.choice(("", r"\boxed{", "Answer: ", '{"difficulty": "')) + "".join(parts)


def _often(draw: random.Random) -> int:
    return draw.choices((5, 50, 400, 5_000, 100_000), weights=(20, 40, 30, 8, 1))[0]


KINDS = (_mix, _mix, _repeated, _deep, _numbers, _moved, _moved, _unicode)


def texts(count: int, seed: int) -> Iterator[str]:
    """So many texts, the same for the same seed."""
    draw = random.Random(seed)
    for number in range(count):
        yield KINDS[number % len(KINDS)](draw)
