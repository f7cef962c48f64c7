"""Modules of at most 400 lines and functions of at most 60, so that each can be read at one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES = 400
FUNCTION_LINES = 60
REASON = "Long because"
"""A module whose docstring gives its reason after these words may be longer."""

NOT_YET: set[str] = set()
"""What is still too long; only ever shorter."""


def too_long(path: Path) -> set[str]:
    """The module, if it is too long without a reason, and its functions that are."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    name = str(path.relative_to(ROOT))
    found = set()
    if len(text.splitlines()) > MODULE_LINES and REASON not in (ast.get_docstring(tree) or ""):
        found.add(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno + 1 > FUNCTION_LINES:
                found.add(f"{name}: {node.name}")
    return found


def test_modules_and_functions_are_short() -> None:
    modules = sorted((ROOT / "scripts").rglob("*.py"))
    assert len(modules) > 100
    found = set[str]().union(*(too_long(path) for path in modules))
    assert found - NOT_YET == set(), "split them along a seam"
    assert NOT_YET - found == set(), "no longer too long: remove them from the list"
