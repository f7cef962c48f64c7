"""The tests of programming problems are read from every form, and reading them runs nothing."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from openthoughts.base.cli import UserError
from openthoughts.grading import Task, grade_one
from openthoughts.sources.programs import cases_of, columns_of, metadata_of

CASES = [{"input": "1", "output": "2"}]


def packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


@pytest.mark.parametrize(
    "cell", [CASES, [["1", "2"]], json.dumps(CASES), json.dumps([["1", "2"]]), packed(json.dumps(CASES))]
)
def test_every_form_gives_the_same_cases(cell: Any) -> None:
    assert cases_of(cell) == CASES


@pytest.mark.parametrize("cell", [None, [], "", "[]"])
def test_there_may_be_none(cell: Any) -> None:
    assert cases_of(cell) == []


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_is_run_by_unpickling(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mkdir, which is not text"):
        cases_of(packed(Harmful(tmp_path / "made")))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("cell", ["!", packed(3), base64.b64encode(b"x").decode(), packed("{")])
def test_anything_else_is_refused_in_a_sentence(cell: str) -> None:
    with pytest.raises(UserError, match="in no known form"):
        cases_of(cell)


def test_several_columns_and_the_time_limit_are_taken_together() -> None:
    tests = {"cases": ["shown", "hidden"], "function": "name", "milliseconds": "limit"}
    row = {"shown": CASES, "hidden": [["3", "4"]], "name": "double", "limit": 1500}
    assert sorted(columns_of(tests)) == ["hidden", "limit", "name", "shown"]
    assert metadata_of(tests, row) == {
        "tests": [*CASES, {"input": "3", "output": "4"}],
        "function": "double",
        "time_limit": 1.5,
    }
    with pytest.raises(UserError, match="no key 'case'"):
        columns_of({"case": "x"})


def test_a_problem_without_tests_is_not_passed() -> None:
    task = Task("code", "```python\nprint(1)\n```", None, json.dumps({"tests": []}))
    with pytest.raises(ValueError, match="no tests"):
        grade_one(task)
