"""How the tests of a function and the untrusted function talk: one JSON value per line, Python's types marked.

Only data crosses, so a result cannot be forged by objects with methods of their own, and reading it runs nothing.
Standard library only: this file is copied into both sandboxes.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any, TextIO

sys.set_int_max_str_digits(0)

_SEQUENCES: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any) -> Any:
    """A value as JSON: None, truth values, integers, texts and lists as they are, others as ``{type: content}``.

    Raises ``TypeError`` for any other type (a class of the program's own, an iterator).
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind is complex:
        return {"complex": [repr(value.real), repr(value.imag)]}
    if kind in (bytes, bytearray):
        return {kind.__name__: value.hex()}
    if kind is list:
        return [encode(item) for item in value]
    if kind.__name__ in _SEQUENCES and kind is _SEQUENCES[kind.__name__]:
        return {kind.__name__: [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    raise TypeError(f"{kind.__name__} is not a plain value")


def decode(value: Any) -> Any:
    """The value that ``encode`` wrote; raises ``ValueError`` for anything else."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "float":
        return float(content)
    if kind == "complex":
        real, imaginary = map(float, content)
        return complex(real, imaginary)
    if kind in ("bytes", "bytearray"):
        return (bytes if kind == "bytes" else bytearray).fromhex(content)
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](decode(item) for item in content)
    if kind == "dict":
        return {decode(key): decode(item) for key, item in content}
    raise ValueError(f"no such type: {kind}")


def canonical(encoded: Any) -> str:
    """One spelling of an encoded value for all values that ``same`` takes for the same, as far as can be.

    Tuples are lists, the order in sets and dictionaries is left out, and numbers have nine significant digits.
    """
    if isinstance(encoded, bool) or encoded is None or isinstance(encoded, str):
        return json.dumps(encoded)
    if isinstance(encoded, int):
        return str(encoded) if abs(encoded) >= 10**9 else f"{encoded:.9g}"
    if isinstance(encoded, list):
        return "[" + ",".join(map(canonical, encoded)) + "]"
    [(kind, content)] = encoded.items()
    if kind == "tuple":
        return canonical(content)
    if kind == "float":
        return f"{float(content):.9g}"
    if kind in ("set", "frozenset"):
        return "{" + ",".join(sorted(map(canonical, content))) + "}"
    if kind == "dict":
        return "{" + ",".join(sorted(f"{canonical(key)}:{canonical(value)}" for key, value in content)) + "}"
    return f"{kind} {json.dumps(content)}"


def send(stream: TextIO, message: Any) -> None:
    """Write one message."""
    stream.write(json.dumps(message, allow_nan=False) + "\n")
    stream.flush()


def receive(stream: TextIO) -> Any:
    """Read one message; raises ``EOFError`` where the other side has ended."""
    line = stream.readline()
    if not line.endswith("\n"):
        raise EOFError
    return json.loads(line)


def same(found: Any, expected: Any) -> bool:
    """Whether a result is the expected one; tuples equal lists, and floats to a relative 1e-9."""
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(found, float) or isinstance(expected, float):
        numbers = isinstance(found, int | float) and isinstance(expected, int | float)
        return numbers and math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(found == expected)
