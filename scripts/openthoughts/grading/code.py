"""Programs, graded by running all tests of their problem in a sandbox.

Three kinds of tests, by the question's metadata:

- ``{"entry_point", "test"}``: a program that defines ``check(candidate)`` (HumanEval); the question is the code that
  the solution goes on from;
- ``{"tests": [{"input", "output"}, ...], "function": name}``: arguments and the value that the function (of the module,
  or a method of a class ``Solution``) must return;
- ``{"tests": [{"input", "output"}, ...]}``: standard input and the standard output it must give, compared line by line
  without trailing blanks.

One test may take ten seconds of processor time, or the problem's own ``time_limit`` where that is longer.

A function and its tests run in two sandboxes that exchange data alone, so a solution cannot reach the tests, read the
expected values or forge the verdict.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openthoughts.base.reasoning import after_reasoning
from openthoughts.grading.item import Item
from openthoughts.grading.sandbox.sandbox import Limits, run, sandboxed

_FENCED = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_PYTHON = ("", "python", "python3", "py")
_OUT_OF_TIME = (signal.SIGXCPU, signal.SIGKILL)
"""Signals that end a program which takes more processor time than it may."""
_HERE = Path(__file__).parent / "sandbox"


def code_of(response: str) -> str | None:
    """The last Python code block after the reasoning; a response that is itself Python counts as one; or null."""
    text = after_reasoning(response)
    if text is None:
        return None
    blocks = [code for language, code in _FENCED.findall(text) if language.lower() in _PYTHON and code.strip()]
    if blocks:
        return str(blocks[-1])
    return text if "```" not in text and _defines_something(text) else None


def _defines_something(text: str) -> bool:
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        isinstance(one, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Assign) for one in statements
    )


def grade(response: str, item: Item) -> tuple[str | None, float | None]:
    """The code (null: none) and whether it passes every test, 1 or 0 (null with it).

    Raises ``SandboxUnavailable`` where nothing can be run safely.
    """
    code = code_of(response)
    if code is None:
        return None, None
    limits = limits_of(item.metadata, item.contained)
    return code, float(passes(code, item.metadata, item.question, limits))


def limits_of(metadata: Mapping[str, Any], contained: bool = True) -> Limits:
    """What a solution of a problem may use: the usual, or the problem's own ``time_limit`` (s) where that is longer."""
    usual = Limits(contained=contained)
    return replace(usual, cpu_seconds=max(usual.cpu_seconds, math.ceil(metadata.get("time_limit") or 0)))


def passes(code: str, metadata: Mapping[str, Any], question: str = "", limits: Limits | None = None) -> bool:
    """Whether a solution passes every test of its problem.

    ``limits`` (default: ``limits_of`` the problem) are of one test of a program, or of all tests of a function.
    """
    return behaviour(code, metadata, question, limits, every_case=False)[0]


def behaviour(
    code: str,
    metadata: Mapping[str, Any],
    question: str = "",
    limits: Limits | None = None,
    every_case: bool = True,
) -> tuple[bool, str | None]:
    """Whether a solution passes every test, and a hash of what it does in them (null where it took too long).

    Solutions that return or print the same in every test have the same hash. Tests that are a program of their own end
    at the first that fails, and so does what is compared; without ``every_case`` all tests do.
    """
    limits = limits or limits_of(metadata)
    if "entry_point" in metadata:
        settings = {"function": metadata["entry_point"], "test": metadata["test"], "prelude": question}
        return _function_behaviour(completed(question, code, metadata["entry_point"]), settings, limits)
    cases = [_case(case) for case in metadata["tests"]]
    if not cases:
        raise ValueError("the problem has no tests")
    if metadata.get("function"):
        settings = {"function": metadata["function"], "cases": cases, "every_case": every_case}
        return _function_behaviour(code, settings, limits)
    return _program_behaviour(code, cases, limits, every_case)


def _case(case: Mapping[str, Any]) -> dict[str, Any]:
    return {"input": case["input"], "output": case["output"]}


def completed(prompt: str, code: str, function: str) -> str:
    """The whole program: the prompt's imports and helpers before a definition of the function, or the prompt's body."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        return prompt + code
    defined = any(isinstance(one, ast.FunctionDef) and one.name == function for one in body)
    return f"{prompt}\n\n{code}" if defined else prompt + code


def _program_behaviour(
    code: str, cases: Sequence[Mapping[str, Any]], limits: Limits, every_case: bool
) -> tuple[bool, str | None]:
    """Run a program on the standard input of each case, or up to the first that fails."""
    passed = True
    said = hashlib.sha256()
    for case in cases:
        finished = run(code, case["input"].encode(), limits)
        lines = _lines(finished.stdout.decode(errors="replace"))
        if finished.outcome == "timeout" or (finished.outcome == "killed" and finished.status in _OUT_OF_TIME):
            return False, None
        said.update(json.dumps(lines if finished.succeeded else finished.outcome).encode() + b"\0")
        if not finished.succeeded or lines != _lines(case["output"]):
            passed = False
            if not every_case:
                break
    return passed, said.hexdigest()


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _function_behaviour(code: str, settings: Mapping[str, Any], limits: Limits) -> tuple[bool, str | None]:
    """Run the tests in one sandbox on the function in another."""
    shared = {"channel.py": _source("channel.py")}
    to_solution, from_tests = os.pipe()
    to_tests, from_solution = os.pipe()
    ends = [to_solution, from_tests, to_tests, from_solution]
    try:
        with sandboxed(
            _source("solution_side.py"), limits, {**shared, "solution.py": code}, to_solution, from_solution
        ) as solution:
            for end in (to_solution, from_solution):
                ends.remove(end)
                os.close(end)
            assert solution.stderr is not None
            files = {**shared, "settings.json": json.dumps(settings)}
            with sandboxed(_source("check_side.py"), limits, files, to_tests, from_tests) as tests:
                for end in list(ends):
                    ends.remove(end)
                    os.close(end)
                assert tests.stderr is not None
                try:
                    passed = tests.wait(limits.wall_seconds) == 0
                    ended = solution.wait(limits.wall_seconds)  # at once: nobody asks it any more
                except subprocess.TimeoutExpired:
                    return False, None
                if ended - 128 in _OUT_OF_TIME:  # to the tests it looks as if the solution had left
                    return False, None
                said = tests.stderr.read().decode(errors="replace")
                trace = re.match(r"trace ([0-9a-f]{64})\n", said)
                return passed, trace[1] if trace else None
    finally:
        for end in ends:
            os.close(end)


def _source(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
