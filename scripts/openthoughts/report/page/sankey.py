"""The funnel as a Sankey diagram that flows downwards, so that it can be read on a phone: SVG, drawn to scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from openthoughts.plan.register import DROPPING, LEVELS
from openthoughts.report.plots import COLOURS

WIDTH, FLOW_WIDTH = 360.0, 318.0
ROW, BAR, GAP = 74.0, 9.0, 5.0
DROPPED = "#b9b9b9"

THINNED = "thinned"
"""The level that stands in the place of the sources where only a share of them is looked at."""

Thread = tuple[str, str]
"""Domain and source of the questions that flow together."""


@dataclass(frozen=True)
class Segment:
    """A thread's part of a bar: where it starts and how wide it is."""

    x: float
    width: float


def sankey(funnel: Sequence[Mapping[str, Any]]) -> Markup:
    """The diagram of a manifest's funnel: at each level, what is kept on the left, what is dropped on the right."""
    kept, dropped = _threads(funnel)
    threads = sorted({thread for level in kept.values() for thread in level})
    domains = sorted({domain for domain, _ in threads})
    colours = {domain: COLOURS[place % len(COLOURS)] for place, domain in enumerate(domains)}
    total = sum(kept["source"].values())
    scale = (FLOW_WIDTH - GAP * (len(domains) + 1)) / max(1, total)
    shapes: list[Markup] = []
    above: Mapping[Thread, Segment] = {}
    levels = [level for level in LEVELS if kept[level] or dropped[level]]
    thinned = sum(sum(row["dropped"].values()) for row in funnel if row["stage"] == THINNED)
    for row, level in enumerate(levels):
        y = 26 + ROW * row
        bars, gone = _segments(threads, kept[level], dropped[level], scale)
        for thread in threads:
            colour = colours[thread[0]]
            if above:
                start = above[thread]
                shapes.append(_ribbon(start.x, bars[thread], y, colour, 0.4))
                shapes.append(_ribbon(start.x + bars[thread].width, gone[thread], y, DROPPED, 0.35))
            shapes.append(_bar(bars[thread], y, colour))
            shapes.append(_bar(gone[thread], y, DROPPED))
        name, lost = (THINNED, thinned) if level == "source" and thinned else (level, sum(dropped[level].values()))
        shapes.append(_label(LEVELS[name], sum(kept[level].values()), lost, y))
        above = bars
    height = 26 + ROW * (len(levels) - 1) + BAR + 8
    legend = Markup("").join(
        Markup('<tspan fill="{}">■</tspan><tspan> {}  </tspan>').format(colours[domain], domain) for domain in domains
    )
    foot = Markup('<text x="2" y="{}">{}<tspan fill="{}">■</tspan><tspan> dropped</tspan></text>').format(
        height + 12, legend, DROPPED
    )
    title = "Questions from the sources to those drawn, by domain"
    return Markup('<svg class="sankey" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        int(WIDTH), int(height + 20), title, Markup("").join(shapes), foot
    )


def _threads(
    funnel: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, dict[Thread, int]], dict[str, dict[Thread, int]]]:
    """Rows kept and dropped at each level by thread, without what a draw repeats: no level is wider than the one above.

    What is sourced is what the first level was given: of thinned sources what is left of them, so that a flow of a
    hundredth can be seen.
    """
    flow = [level for level in DROPPING if level != THINNED]
    first = next((level for level in flow if any(row["stage"] == level for row in funnel)), None)
    kept: dict[str, dict[Thread, int]] = {level: {} for level in LEVELS}
    dropped: dict[str, dict[Thread, int]] = {level: {} for level in LEVELS}
    for row in funnel:
        level, thread = row["stage"], (row["domain"], row["source"])
        if level not in flow or row["source"] is None:
            continue
        kept[level][thread] = row["rows"] - row.get("repeated", 0)
        dropped[level][thread] = sum(row["dropped"].values())
        if level == first:
            kept["source"][thread] = kept[level][thread] + dropped[level][thread]
    return kept, dropped


def _segments(
    threads: Sequence[Thread], kept: Mapping[Thread, int], dropped: Mapping[Thread, int], scale: float
) -> tuple[dict[Thread, Segment], dict[Thread, Segment]]:
    """Where each thread's kept and dropped questions are in a row of the diagram."""
    x, domain = 2.0, None
    found: list[dict[Thread, Segment]] = []
    for counts in (kept, dropped):
        placed = {}
        for thread in threads:
            if domain not in (None, thread[0]):
                x += GAP
            domain = thread[0]
            placed[thread] = Segment(x, counts.get(thread, 0) * scale)
            x += placed[thread].width
        found.append(placed)
        x, domain = x + 2 * GAP, None
    return found[0], found[1]


def _ribbon(start: float, to: Segment, y: float, colour: str, opacity: float) -> Markup:
    """A flow of the width of ``to`` from ``start`` in the bar above to ``to`` in the bar at ``y``."""
    if to.width <= 0:
        return Markup("")
    top, middle = y - ROW + BAR, y - ROW / 2 + BAR / 2
    path = (
        f"M{start:.1f} {top:.1f}C{start:.1f} {middle:.1f} {to.x:.1f} {middle:.1f} {to.x:.1f} {y:.1f}"
        f"H{to.x + to.width:.1f}"
        f"C{to.x + to.width:.1f} {middle:.1f} {start + to.width:.1f} {middle:.1f} {start + to.width:.1f} {top:.1f}Z"
    )
    return Markup('<path d="{}" fill="{}" fill-opacity="{}"/>').format(path, colour, opacity)


def _bar(segment: Segment, y: float, colour: str) -> Markup:
    if segment.width <= 0:
        return Markup("")
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" fill="{}"/>').format(
        segment.x, y, max(0.6, segment.width), int(BAR), colour
    )


def _label(name: str, kept: int, dropped: int, y: float) -> Markup:
    text = f"{name}: {kept:,}" + (f" (−{dropped:,})" if dropped else "")
    return Markup('<text x="2" y="{:.1f}">{}</text>').format(y - 5, escape(text))
