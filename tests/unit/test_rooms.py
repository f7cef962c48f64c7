"""The rooms of the library: each imports only what lies on the floors below it, so that no change travels upward."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "scripts/openthoughts"

FLOORS = (
    {"base"},
    {"experiments", "models", "store"},
    {"inference", "similarity", "sources", "training"},
    {"grading", "questions"},
    {"answers"},
    {"asking", "plan"},
    {"costs"},
    {"report"},
)
"""From the ground up. A room may use every room of a lower floor, and none of its own."""

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> Iterator[str]:
    """The modules of the library that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from [node.module] if "." in node.module else [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def test_every_room_stands_on_a_floor() -> None:
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(FLOOR_OF)
    assert {path.name for path in LIBRARY.glob("*.py")} == {"__init__.py"}


def test_no_room_imports_from_its_own_floor_or_from_above() -> None:
    upward = []
    for path in sorted(LIBRARY.rglob("*.py")):
        room = path.relative_to(LIBRARY).parts[0]
        for module in imported(path):
            package, _, rest = module.partition(".")
            other = rest.partition(".")[0]
            if package == "openthoughts" and other != room and FLOOR_OF.get(other, 99) >= FLOOR_OF.get(room, -1):
                upward.append(f"{path.relative_to(LIBRARY)} imports {module}")
    assert upward == []
