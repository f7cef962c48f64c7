"""From sections to one file: a template, its style and script, and the data as JSON that is only ever shown as text."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from openthoughts.base.places import WORKFLOW
from openthoughts.report.plots import svg_of

TEMPLATES = WORKFLOW / "report" / "page"


@dataclass(frozen=True)
class Figure:
    """A plot with its title; ``svg`` is drawn by this project, never made of data's own markup."""

    title: str
    svg: str
    inline: bool = False

    @staticmethod
    def of(title: str, chart: Any) -> Figure:
        """The figure of an Altair chart."""
        return Figure(title, svg_of(chart))

    @property
    def source(self) -> str:
        """The plot as the address of a picture: in a picture nothing runs, and its names meet no other's."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()

    @property
    def markup(self) -> Markup:
        """The plot as part of the page."""
        return Markup(self.svg)


@dataclass(frozen=True)
class Table:
    """Rows of cells under a heading each; numbers stand right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""


@dataclass(frozen=True)
class Fold:
    """Plain text that is folded under a title; ``parts`` are texts and whether each is marked."""

    title: str
    text: str = ""
    parts: Sequence[tuple[str, bool]] = ()


@dataclass(frozen=True)
class Browser:
    """A list that can be searched: ``kind`` says how the page's script shows a row (``pair`` or ``answer``)."""

    name: str
    kind: str
    rows: Sequence[Mapping[str, Any]]
    note: str = ""


@dataclass
class Section:
    """One part of the page."""

    name: str
    title: str
    text: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    browser: Browser | None = None


def cell(value: Any) -> str:
    """A table's cell: whole numbers with thousands, others with three digits, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a cell stands right."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def embedded(value: Any) -> Markup:
    r"""JSON that can stand in a script element: every ``<`` is ``\u003c``, so that nothing in it is markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def render(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page: one file that fetches nothing and whose only script is its own (by its digest)."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.tests["number"] = is_number
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    lists = {
        section.browser.name: {"kind": section.browser.kind, "rows": section.browser.rows}
        for section in sections
        if section.browser
    }
    return environment.get_template("page.html.jinja").render(
        title=title,
        facts=facts,
        sections=sections,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
        data=embedded(lists),
    )


def _digest(text: str) -> str:
    """How a content security policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
