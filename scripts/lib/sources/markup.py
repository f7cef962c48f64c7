"""HTML of a post to plain text that keeps what a reader needs: code blocks, lists, quotes, formulas, line breaks.

Code is fenced or put in backticks, list items get ``-`` or their number, quotes ``>``, headings ``#``; formulas are
text already (``$…$``), superscripts and subscripts become ``^{…}`` and ``_{…}``. Malformed HTML is read as a browser
would.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

from lxml import etree, html  # type: ignore[import-untyped]

from lib.sources.text import valid_text

BLANKS = re.compile(r"[ \t\r\n\f]+")
TAG = re.compile(r"<[^>]*>")
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
SILENT = frozenset({"script", "style", "head", "title"})
BLOCKS = frozenset({"p", "div", "table", "section", "article", "dl", "details"})
LINES = frozenset({"br", "tr", "dt", "dd", "summary"})
HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
NO_ALT = "enter image description here"

_PARSER = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)


class _Writer:
    """Text with pending line breaks and the prefixes (quotes, list indents) of the lines to come."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.prefixes: list[str] = []
        self.shared = 0  # how many of the prefixes the pending blank lines have, too
        self.pending = 0
        self.fresh = True  # at the start of a line
        self.marked = False  # just after the marker of a list item

    def need(self, breaks: int) -> None:
        """At least this many line breaks come before the next text; none just after a list item's marker."""
        if self.parts and not self.marked:
            self.pending = max(self.pending, breaks)

    def push(self, prefix: str) -> None:
        """Begin lines with this, too."""
        self.prefixes.append(prefix)

    def pop(self) -> None:
        """Begin lines without the last prefix again."""
        self.prefixes.pop()
        self.shared = min(self.shared, len(self.prefixes))

    def raw(self, text: str) -> None:
        """Text as it is, after the pending line breaks; further lines get the prefixes."""
        prefix = "".join(self.prefixes)
        if self.pending:
            blank = "".join(self.prefixes[: self.shared])
            self.parts.append("\n" + f"{blank}\n" * (self.pending - 1) + prefix)
        elif not self.parts:
            self.parts.append(prefix)
        self.pending, self.marked, self.shared = 0, False, len(self.prefixes)
        self.parts.append(text.replace("\n", f"\n{prefix}") if prefix else text)
        self.fresh = text.endswith(("\n", " "))

    def flow(self, text: str) -> None:
        """Text of a paragraph: runs of blanks are one blank, none at the start of a line."""
        text = BLANKS.sub(" ", text)
        if self.pending or self.fresh or not self.parts:
            text = text.lstrip(" ")
        if text:
            self.raw(text)


class _Renderer:
    """Writes the text of a parsed fragment; no recursion, so that no depth of nesting is too much."""

    def __init__(self) -> None:
        self.writer = _Writer()
        self.pre = 0
        self.silent = 0
        self.lists: list[int | None] = []  # next number of each open list, None for one of dashes
        self.starts: dict[str, Callable[[etree._Element], None]] = {
            "pre": self.start_pre, "code": self.tick, "ul": self.start_list, "ol": self.start_list,
            "li": self.start_item, "blockquote": self.start_quote, "hr": self.rule, "img": self.image,
            "sup": lambda _: self.mark("^{"), "sub": lambda _: self.mark("_{"),
            "td": self.cell, "th": self.cell,
        }  # fmt: skip
        self.ends: dict[str, Callable[[etree._Element], None]] = {
            "pre": self.end_pre, "code": self.tick, "ul": self.end_list, "ol": self.end_list,
            "li": self.end_item, "blockquote": self.end_quote,
            "sup": lambda _: self.mark("}"), "sub": lambda _: self.mark("}"),
        }  # fmt: skip

    def render(self, root: etree._Element) -> str:
        for event, element in etree.iterwalk(root, events=("start", "end")):
            if event == "start":
                self.start(element)
                self.text(element.text)
            else:
                self.end(element)
                if element is not root:
                    self.text(element.tail)
        return TRAILING.sub("", "".join(self.writer.parts)).strip("\n")

    def text(self, text: str | None) -> None:
        if not text or self.silent:
            return
        if self.pre:
            self.writer.raw(text)
        else:
            self.writer.flow(text)

    def mark(self, text: str) -> None:
        if not self.silent:
            self.writer.raw(text)

    def breaks(self, tag: str) -> None:
        if tag in BLOCKS or tag in HEADINGS:
            self.writer.need(2)
        elif tag in LINES and not self.pre:
            self.writer.need(1)

    def start(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in SILENT:
            self.silent += 1
        self.breaks(tag)
        if tag in HEADINGS:
            self.mark(HEADINGS[tag])
        if tag in self.starts:
            self.starts[tag](element)

    def end(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in SILENT:
            self.silent -= 1
        if tag in self.ends:
            self.ends[tag](element)
        if tag != "br":
            self.breaks(tag)

    def start_pre(self, element: etree._Element) -> None:
        self.writer.need(2)
        self.mark("```\n")
        self.pre += 1

    def end_pre(self, element: etree._Element) -> None:
        self.pre -= 1
        line = "\n" + "".join(self.writer.prefixes)
        code = self.writer.parts[-1]
        while code.endswith(line):
            code = code.removesuffix(line)
        self.writer.parts[-1] = code
        self.writer.need(1)
        self.mark("```")
        self.writer.need(2)

    def tick(self, element: etree._Element) -> None:
        if not self.pre:
            self.mark("`")

    def start_list(self, element: etree._Element) -> None:
        self.writer.need(1 if self.lists else 2)
        self.lists.append(1 if element.tag == "ol" else None)

    def end_list(self, element: etree._Element) -> None:
        self.lists.pop()
        self.writer.need(1 if self.lists else 2)

    def start_item(self, element: etree._Element) -> None:
        self.writer.need(1)
        number = self.lists[-1] if self.lists else None
        marker = "- " if number is None else f"{number}. "
        if number is not None:
            self.lists[-1] = number + 1
        self.mark(marker)
        self.writer.fresh = self.writer.marked = True
        self.writer.push(" " * len(marker))

    def end_item(self, element: etree._Element) -> None:
        self.writer.pop()
        self.writer.marked = False
        self.writer.pending = 0
        self.writer.need(1)

    def start_quote(self, element: etree._Element) -> None:
        self.writer.need(2)
        self.writer.push("> ")

    def end_quote(self, element: etree._Element) -> None:
        self.writer.pop()
        self.writer.need(2)

    def rule(self, element: etree._Element) -> None:
        self.writer.need(2)
        self.mark("---")
        self.writer.need(2)

    def image(self, element: etree._Element) -> None:
        alt = BLANKS.sub(" ", element.get("alt") or "").strip()
        self.mark("[image]" if alt in ("", NO_ALT) else f"[image: {alt}]")

    def cell(self, element: etree._Element) -> None:
        if element.getprevious() is not None:
            self.mark(" | ")


def _bare_text(source: str) -> str:
    """The text between the tags, for what is nested too deeply to be read as a tree."""
    return unescape(TAG.sub(" ", source)).strip()


def html_to_text(source: str) -> str:
    """The text of an HTML fragment; blank where it has none."""
    source = valid_text(source).replace("\0", "")
    if not source.strip():
        return ""
    try:
        root = html.fragment_fromstring(source, create_parent="div", parser=_PARSER)
    except (etree.ParserError, etree.XMLSyntaxError):
        return _bare_text(source)
    return _Renderer().render(root) or _bare_text(source)
