"""The tests of programming problems, from the forms that datasets have them in.

The key ``tests`` of an entry says where they are: ``cases``, the column or columns of the test cases; ``function``, the
column with the name of the function to call (a name, or a JSON object with ``func_name``; without it programs read
standard input); ``seconds`` or ``milliseconds``, the column of the time that one test may take.

A column of cases is a list of ``{input, output}``, a list of pairs, or either as JSON; also JSON that is pickled,
compressed and written in base64, as LiveCodeBench has its hidden tests (nothing but text is ever unpickled). A case
whose ``testtype`` is ``functional`` has one JSON value a line for each argument, and a JSON value as its output.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Mapping
from typing import Any

from openthoughts.base.cli import UserError

UNITS = {"seconds": 1.0, "milliseconds": 0.001}


class _TextOnly(pickle.Unpickler):
    """An unpickler that builds no object of any class, so that unpickling runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise UserError(f"the tests hold an object of {module}.{name}, which is not text: leave the dataset out.")


def columns_of(tests: Mapping[str, Any]) -> list[str]:
    """The columns that ``tests`` names. Raises ``UserError`` for a key that it does not have."""
    known = {"cases", "function", *UNITS}
    for key in tests:
        if key not in known:
            raise UserError(f"`tests` has no key {key!r}: it has {', '.join(sorted(known))}.")
    if "cases" not in tests:
        raise UserError("`tests` names no column of test cases: add `cases: COLUMN`.")
    return [column for value in tests.values() for column in ([value] if isinstance(value, str) else value)]


def metadata_of(tests: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """``tests``, and where they are known ``function`` and ``time_limit`` (seconds), of one row."""
    columns = [tests["cases"]] if isinstance(tests["cases"], str) else tests["cases"]
    found: dict[str, Any] = {"tests": [case for column in columns for case in cases_of(row[column])]}
    if "function" in tests and (name := _function_name(row[tests["function"]])):
        found["function"] = name
    for unit, seconds in UNITS.items():
        if unit in tests and row[tests[unit]] is not None:
            found["time_limit"] = float(row[tests[unit]]) * seconds
    return found


def cases_of(value: Any) -> list[dict[str, Any]]:
    """The test cases of a cell, as ``{input, output}``."""
    listed = decoded(value) if isinstance(value, str) else value
    return [_case(one) for one in listed or ()]


def decoded(text: str) -> Any:
    """JSON, or JSON that is pickled, compressed and written in base64. Raises ``UserError`` for anything else."""
    if not text.strip():
        return []
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        packed = zlib.decompress(base64.b64decode(text, validate=True))
        return json.loads(_TextOnly(io.BytesIO(packed)).load())
    except (binascii.Error, zlib.error, pickle.UnpicklingError, ValueError, TypeError, EOFError) as error:
        raise UserError(f"the tests {text[:40]!r} are in no known form ({error}): fix `cases`.") from error


def _case(one: Any) -> dict[str, Any]:
    given, wanted = (one["input"], one["output"]) if isinstance(one, Mapping) else one
    if isinstance(one, Mapping) and one.get("testtype") == "functional":
        given = [json.loads(line) for line in str(given).splitlines() if line.strip()]
        wanted = json.loads(wanted)
    return {"input": given, "output": wanted}


def _function_name(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    if value.lstrip().startswith("{"):
        return json.loads(value).get("func_name") or None
    return value.strip()
