"""Tasks of reasoning-gym, scored by its own verifiers.

Some of these verifiers evaluate the answer as a Python or SymPy expression. An answer comes from a model and is not
trusted: here ``eval`` reads literals only, and an answer goes to SymPy only when every name in it is mathematics.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import warnings
from functools import cache
from types import ModuleType
from typing import Any, ClassVar

from openthoughts.base.reasoning import after_reasoning
from openthoughts.grading.extraction import final_answer
from openthoughts.grading.graders import Grader
from openthoughts.grading.item import Item

_TAGGED = re.compile(r"<answer>\s?(.*?)\s?</answer>", re.DOTALL | re.IGNORECASE)
_NAME = re.compile(r"[^\W\d]\w*")
_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")
_MATHEMATICS = frozenset(
    [*_TRIGONOMETRIC, *[f"a{name}" for name in _TRIGONOMETRIC], "exp", "log", "ln", "sqrt", "abs", "Abs", "pi", "oo"]
)
"""Functions and constants that an answer may name when SymPy reads it."""


def answer_of(response: str) -> str | None:
    """What stands between the last ``<answer>`` tags, as written; else the final answer in another form; or null."""
    text = after_reasoning(response)
    if text is None:
        return None
    tagged = [content.strip() for content in _TAGGED.findall(text) if content.strip()]
    return tagged[-1] if tagged else final_answer(text)


class ReasoningGym(Grader):
    """The family's own verifier scores the answer."""

    metadata: ClassVar[tuple[str, ...]] = ("family", "entry")
    preload: ClassVar[tuple[str, ...]] = ("sympy", "reasoning_gym")

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """The answer read (null: none) and its score from 0 to 1 by the family's verifier (null with it).

        The metadata: ``{"family": name, "entry": the generated item}``. Some verifiers give part of a point to a wrong
        answer.
        """
        answer = answer_of(response)
        if answer is None:
            return None, None
        family = item.metadata["family"]
        module = _module(family)
        if _hands_to_sympy(module) and not is_mathematics(answer):
            return answer, 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                score = float(_verifier(family)(answer, item.metadata["entry"]))
            except (MemoryError, RecursionError):
                raise
            except Exception:  # what a verifier does not expect of an answer is not in the form that the task asks for
                score = 0.0
        return answer, min(1.0, max(0.0, score))


def is_mathematics(answer: str) -> bool:
    """Whether an answer may be handed to SymPy's parser: single letters, known functions, numbers and operators."""
    if re.search(r"[\"'`\\\[\]{}:;@#]|\.\s*[^\W\d]|__", answer):
        return False
    return all(len(name) == 1 or name in _MATHEMATICS for name in _NAME.findall(answer))


@cache
def _verifier(family: str) -> Any:
    _module(family)
    from reasoning_gym import get_score_answer_fn

    return get_score_answer_fn(family)


@cache
def _module(family: str) -> ModuleType:
    """The module of a family's verifier, in which ``eval`` has been made to read literals only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import reasoning_gym  # noqa: F401
        from reasoning_gym.factory import DATASETS
    module = sys.modules[DATASETS[family][0].__module__]
    if _evaluates_answer(module):
        module.__dict__["eval"] = ast.literal_eval
    return module


def _evaluates_answer(module: ModuleType) -> bool:
    return re.search(r"\beval\(\s*answer", inspect.getsource(module)) is not None


@cache
def _hands_to_sympy(module: ModuleType) -> bool:
    """Whether the module's verifier evaluates the answer with SymPy's parser."""
    return re.search(r"(parse_expr|sympify)\(\s*answer", inspect.getsource(module)) is not None
