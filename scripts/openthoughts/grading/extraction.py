r"""The final answer of a model's response: what stands in ``\boxed{}``, after "the answer is", or as a choice letter.

Only what follows the reasoning counts: text after the last ``</think>``. A response that opens ``<think>`` and never
closes it (cut off by the token limit) has no final answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from openthoughts.base.reasoning import after_reasoning

LONGEST_ANSWER = 4000
"""Characters: what is longer than this is no final answer (and an endless repetition is not searched for one)."""

LAST_BOXES = 20
"""Of a response that repeats itself, only this many of its last boxes are read."""

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*")
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_STATED = re.compile(
    r"\b(?:final\s+answer|correct\s+answer|correct\s+(?:choice|option)|answer)\b[\s*_]*+"
    r"(?:(?:is|equals|would\s+be|should\s+be)\b[\s*_]*+:?|[:=])[\s*_]*+(?=\S)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.;!?](?:\s|$)")
_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?(?![\w])")
_LETTER_ALONE = re.compile(r"^[\s*_$(\[{\"']*+([A-Z])[\s*_$)\]}\"'.:]*$")
_LETTER_FIRST = re.compile(
    r"^[\s*_$(\[{\"']*+(?:(?:option|choice)\s++)?[\s*_$(\[{\"']*+([A-Z])(?:[\s)*_$\]}\"'.:,;]|$)"
)
_WRAPPER = re.compile(r"^\\(?:text|textbf|mathrm|mathbf|textit)\s*\{(.*)\}$", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""The content of the last complete ``\boxed{…}`` (also ``\fbox{…}`` and ``\boxed 5``; braces balance), or null."""
    for match in reversed(list(_BOXED.finditer(text))[-LAST_BOXES:]):
        content = _braced(text, match.end())
        if content is None and not text.startswith("{", match.end()):
            bare = re.match(r"[^\s$,.;{}]+", text[match.end() :])
            content = bare.group() if bare else None
        if content is not None and content.strip():
            return content.strip()
    return None


def _braced(text: str, start: int) -> str | None:
    """What the brace group that opens at ``start`` holds; null where none opens there or it never closes."""
    if not text.startswith("{", start):
        return None
    depth = 0
    position = start
    while position < min(len(text), start + LONGEST_ANSWER):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : position]
        position += 1
    return None


def stated_answer(text: str) -> str | None:
    """What follows the last "answer is", "final answer:" or the like, up to the end of its sentence; or null."""
    matches = list(_STATED.finditer(text))
    if not matches:
        return None
    answer = text[matches[-1].end() :].splitlines()[0].strip()
    if answer.startswith("$"):
        closed = re.match(r"(\$\$?)(.+?)\1", answer)
        if closed:
            return closed.group(2).strip()
    end = _SENTENCE_END.search(answer)
    return (answer[: end.start()] if end else answer).strip().strip("*_` ").strip() or None


def final_answer(response: str | None, last_number: bool = False) -> str | None:
    r"""The final answer of a response, or null where there is none.

    In order: the last ``\boxed{}``, the last ``<answer>`` tag, the last "answer is …"; with ``last_number`` also the
    last number of the response.
    """
    text = after_reasoning(response) if response is not None else None
    if text is None:
        return None
    answer = last_boxed(text)
    if answer is None:
        tagged = [content.strip() for content in _TAGGED.findall(text) if content.strip()]
        answer = (last_boxed(tagged[-1]) or tagged[-1]) if tagged else stated_answer(text)
    if answer is None and last_number:
        numbers = _NUMBER.findall(text)
        answer = numbers[-1] if numbers else None
    return answer


def choice_letter(response: str | None, choices: Sequence[str]) -> str | None:
    """The letter (A, B, …) that a response chooses among ``choices``, or null.

    Read from the final answer (a letter, or the full text of exactly one choice), else from a last line that is nothing
    but a letter. A letter beyond the choices is no answer.
    """
    letters = [chr(ord("A") + index) for index in range(len(choices))]
    answer = final_answer(response)
    if answer is not None:
        letter = _letter_of_text(answer, choices) or _letter(answer)
        return letter if letter in letters else None
    text = after_reasoning(response) if response is not None else None
    lines = [line for line in (text or "").splitlines() if line.strip()]
    alone = _LETTER_ALONE.match(lines[-1]) if lines else None
    return alone.group(1) if alone and alone.group(1) in letters else None


def _letter(answer: str) -> str | None:
    match = _LETTER_FIRST.match(_unwrapped(answer)) or _LETTER_ALONE.match(_unwrapped(answer).upper())
    return match.group(1) if match else None


def _letter_of_text(answer: str, choices: Sequence[str]) -> str | None:
    wanted = _plain(answer)
    if len(wanted) < 2:  # a choice that reads "A" is not the letter A
        return None
    equal = [index for index, choice in enumerate(choices) if _plain(choice) == wanted]
    return chr(ord("A") + equal[0]) if len(equal) == 1 else None


def _unwrapped(answer: str) -> str:
    match = _WRAPPER.match(answer.strip())
    return match.group(1) if match else answer.strip()


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", _unwrapped(text)).strip(" .$*_").casefold()
