"""The rules of the workflow and what they hand on, as a picture: Snakemake's own graph, drawn in layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from markupsafe import Markup

BOX_WIDTH, BOX_HEIGHT = 136, 26
ACROSS, DOWN = 150, 48
SWEEPS = 12

Edges = Mapping[str, AbstractSet[str]]
"""Rule -> the rules that it takes something from."""


def read_dot(text: str) -> dict[str, set[str]]:
    """The graph that ``snakemake --rulegraph`` prints: rule -> the rules that it takes something from."""
    names = dict(re.findall(r'^\s*(\d+)\[label = "([^"]+)"', text, re.MULTILINE))
    edges: dict[str, set[str]] = {name: set() for name in names.values()}
    for start, end in re.findall(r"^\s*(\d+) -> (\d+)", text, re.MULTILINE):
        edges[names[end]].add(names[start])
    return edges


def without(edges: Edges, left_out: AbstractSet[str]) -> dict[str, set[str]]:
    """The graph without some rules."""
    return {rule: set(before) - left_out for rule, before in edges.items() if rule not in left_out}


def reduced(edges: Edges) -> dict[str, set[str]]:
    """The graph without the edges that a longer way makes needless."""

    def ancestors(rule: str) -> set[str]:
        found: set[str] = set()
        waiting = list(edges[rule])
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += edges[one]
        return found

    return {
        rule: {one for one in before if not any(one in ancestors(other) for other in before - {one})}
        for rule, before in ((rule, set(before)) for rule, before in edges.items())
    }


def layers(edges: Edges) -> list[list[str]]:
    """The rules in layers, each rule just above the first that takes something from it, ordered so that few cross."""
    depth: dict[str, int] = {}

    def deep(rule: str) -> int:
        if rule not in depth:
            depth[rule] = 1 + max((deep(one) for one in edges[rule]), default=-1)
        return depth[rule]

    rows: list[list[str]] = [[] for _ in range(1 + max(map(deep, sorted(edges)), default=-1))]
    after: dict[str, set[str]] = {rule: {other for other in edges if rule in edges[other]} for rule in edges}
    for rule in sorted(edges, key=lambda rule: (-depth[rule], rule)):
        depth[rule] = min((depth[one] for one in after[rule]), default=depth[rule] + 1) - 1
        rows[depth[rule]].append(rule)
    for sweep in range(SWEEPS):
        place = {rule: spot - (len(row) - 1) / 2 for row in rows for spot, rule in enumerate(row)}
        neighbours = edges if sweep % 2 == 0 else after
        for row in rows:
            row.sort(key=lambda rule: (_mean([place[one] for one in neighbours[rule]], place[rule]), rule))
    return rows


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def picture(edges: Edges) -> str:
    """The graph as SVG."""
    rows = layers(edges)
    width = ACROSS * max(map(len, rows))
    height = DOWN * (len(rows) - 1) + BOX_HEIGHT + 16
    at = {
        rule: (width / 2 + ACROSS * (spot - (len(row) - 1) / 2), 8 + DOWN * level)
        for level, row in enumerate(rows)
        for spot, rule in enumerate(row)
    }
    lines = [_edge(at[one], at[rule]) for rule, before in sorted(edges.items()) for one in sorted(before)]
    boxes = [_box(rule, *at[rule]) for row in rows for rule in row]
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
    ).format(int(width), int(height))
    return str(head + Markup("\n").join([*lines, *boxes]) + Markup("\n</svg>\n"))


def _edge(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    (x, y), (to_x, to_y) = (start[0], start[1] + BOX_HEIGHT), end
    middle = (y + to_y) / 2
    line = f"M{x:.0f} {y:.0f}C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}"
    return Markup('<path d="{}" fill="none" stroke="#a9b6c3"/>').format(line)


def _box(rule: str, x: float, y: float) -> Markup:
    return Markup(
        '<rect x="{:.0f}" y="{:.0f}" width="{}" height="{}" rx="5" fill="#eaf1f8" stroke="#3b6ea5"/>'
        '<text x="{:.0f}" y="{:.0f}" text-anchor="middle" fill="#1d2733">{}</text>'
    ).format(x - BOX_WIDTH / 2, y, BOX_WIDTH, BOX_HEIGHT, x, y + 17, rule)
