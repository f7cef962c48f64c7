"""Draw the pictures of the documentation from the code: the rooms of the library, and the rules from source to score.

Writes Mermaid, which GitHub shows as a picture, between the markers in README.md and docs/recipe.md (`make pictures`).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.base.tables import write_text

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "scripts/openthoughts"
LAST_RULE = "grade_answers"

Edges = set[tuple[str, str]]


def rooms() -> str:
    """The rooms of the library and which rooms each uses."""
    names = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
    uses = {(room, other) for room in names for other in _imported(LIBRARY / room) if other in names and other != room}
    return _mermaid([f'{room}["<b>{room}</b><br>{_first_line(LIBRARY / room)}"]' for room in names], uses)


def rules(graph: str) -> str:
    """The rules that lead to a score, of the graph that ``snakemake --rulegraph mermaid-js`` prints."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", graph))
    edges = {(names[start], names[end]) for start, end in re.findall(r"(id\d+) --> (id\d+)", graph)}
    shown = _before(LAST_RULE, edges)
    return _mermaid([], {(start, end) for start, end in edges if end in shown})


def embedded(page: str, picture: str) -> str:
    """The page with the picture between its markers."""
    start, end = "<!-- drawn by `make pictures` -->\n", "<!-- end of the picture -->"
    return f"{page.partition(start)[0]}{start}```mermaid\n{picture}```\n{end}{page.partition(end)[2]}"


def _imported(folder: Path) -> set[str]:
    """The rooms that the modules of a folder import."""
    pattern = re.compile(r"^\s*from openthoughts(?:\.| import )(\w+)", re.MULTILINE)
    return {room for path in folder.rglob("*.py") for room in pattern.findall(path.read_text(encoding="utf-8"))}


def _first_line(folder: Path) -> str:
    return (folder / "__init__.py").read_text(encoding="utf-8").partition("\n")[0].strip('".')


def _before(end: str, edges: Edges) -> set[str]:
    """All from which a way leads to ``end``, and itself."""
    return {end}.union(*(_before(start, edges) for start, other in edges if other == end))


def _mermaid(nodes: Sequence[str], edges: Edges) -> str:
    """The graph without the edges that a longer way makes needless."""

    def is_needed(start: str, end: str) -> bool:
        return not any(start in _before(middle, edges) for middle, other in edges if other == end and middle != start)

    lines = [*nodes, *(f"{start} --> {end}" for start, end in sorted(edges) if is_needed(start, end))]
    return "flowchart TB\n" + "".join(f"    {line}\n" for line in lines)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Draw both pictures."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    snakemake = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/demo", "--rulegraph", "mermaid-js"]
    graph = subprocess.run(snakemake, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for name, picture in (("README.md", rooms()), ("docs/recipe.md", rules(graph))):
        write_text(embedded((ROOT / name).read_text(encoding="utf-8"), picture), ROOT / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
