"""HTML of a post to plain text that keeps what a reader needs: code blocks, lists, quotes, formulas, line breaks.

Code is fenced or put in backticks, list items get ``-`` or their number, quotes ``>``, headings ``#``; formulas are
text already (``$…$``), superscripts and subscripts become ``^{…}`` and ``_{…}``. Malformed HTML is read as a browser
would.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from html import unescape

from lxml import etree  # type: ignore[import-untyped]

from openthoughts.sources.text import valid_text

BREAKS = "\t\r\n\f"
BLANK = " " + BREAKS
BLANKS = re.compile(f"[{BLANK}]+")
TAG = re.compile(r"<[^>]*>")
SILENT = frozenset({"script", "style", "title"})
PARAGRAPHS = frozenset({"p", "div", "table", "section", "article", "dl", "details", "h1", "h2", "h3", "h4", "h5", "h6"})
LINES = frozenset({"br", "tr", "dt", "dd", "summary"})
NO_ALT = "enter image description here"

Attributes = Mapping[str, str]


def single_blanks(text: str) -> str:
    """The text with one space for every run of blanks, and none around it."""
    text = text.strip(BLANK)
    # Most texts have nothing to replace, which takes a fraction of the time to see.
    return BLANKS.sub(" ", text) if "  " in text or any(blank in text for blank in BREAKS) else text


class _Renderer:
    """Target of a parser of HTML: gathers the text of a paragraph, and writes it when the next one begins.

    ``prefixes`` (quotes, list indents) begin every line; ``shared`` of them begin the blank lines that are pending.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was read."""
        self.parts: list[str] = []
        self.paragraph: list[str] = []
        self.prefixes: list[str] = []
        self.prefix = ""
        self.shared = 0
        self.pending = 0
        self.marker = ""  # of the list item that begins with the next text
        self.pre = 0
        self.silent = 0
        self.cells = 0
        self.lists: list[int | None] = []  # next number of each open list, None for one of dashes

    def start(self, tag: str, attributes: Attributes) -> None:
        """An element begins."""
        if tag in PARAGRAPHS:
            self.need(2)
        elif tag in LINES:
            self.need_line()
        if tag in STARTS:
            STARTS[tag](self, tag, attributes)

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag in ENDS:
            ENDS[tag](self, tag, {})
        if tag in PARAGRAPHS:
            self.need(2)
        elif tag in LINES and tag != "br":
            self.need_line()

    def data(self, text: str) -> None:
        """Text of an element, in pieces."""
        if not self.silent:
            self.paragraph.append(text)

    def close(self) -> str:
        """The whole text; then ready for another document."""
        self.flush()
        text = "".join(self.parts).strip("\n")
        self.reset()
        return text

    def flush(self) -> None:
        """Write the paragraph gathered so far."""
        if self.paragraph:
            text = single_blanks("".join(self.paragraph))
            self.paragraph.clear()
            if text:
                self.write(text)

    def need(self, breaks: int) -> None:
        """At least this many line breaks come before what is written next."""
        self.flush()
        if self.parts and not self.marker:
            self.pending = max(self.pending, breaks)

    def need_line(self) -> None:
        """A line break comes before what is written next."""
        if self.pre:
            self.paragraph.append("\n")
        else:
            self.need(1)

    def write(self, text: str) -> None:
        """Write text after the line breaks that are pending; each of its lines begins with the prefixes."""
        if self.pending:
            blank = "".join(self.prefixes[: self.shared]).rstrip(" ")
            self.parts.append("\n" + f"{blank}\n" * (self.pending - 1))
        at_start = self.pending > 0 or not self.parts
        first = self.prefix.removesuffix(" " * len(self.marker)) + self.marker if self.marker else self.prefix
        if at_start:
            self.parts.append(first)
        if self.prefix and "\n" in text:
            blank = self.prefix.rstrip(" ")
            lines = text.split("\n")
            text = "\n".join([lines[0], *(self.prefix + line if line else blank for line in lines[1:])])
        self.parts.append(text)
        self.pending, self.marker, self.shared = 0, "", len(self.prefixes)

    def push(self, prefix: str) -> None:
        """Begin lines with this, too."""
        self.prefixes.append(prefix)
        self.prefix = "".join(self.prefixes)

    def pop(self) -> None:
        """Begin lines without the last prefix again."""
        if self.prefixes:
            self.prefixes.pop()
        self.prefix = "".join(self.prefixes)
        self.shared = min(self.shared, len(self.prefixes))

    def start_silence(self, tag: str, attributes: Attributes) -> None:
        self.silent += 1

    def end_silence(self, tag: str, attributes: Attributes) -> None:
        self.silent -= 1

    def start_pre(self, tag: str, attributes: Attributes) -> None:
        self.need(2)
        self.pre += 1

    def end_pre(self, tag: str, attributes: Attributes) -> None:
        self.pre -= 1
        code = "".join(self.paragraph).strip("\n")
        self.paragraph.clear()
        self.write(f"```\n{code}\n```")
        self.need(2)

    def tick(self, tag: str, attributes: Attributes) -> None:
        if not self.pre:
            self.paragraph.append("`")

    def start_list(self, tag: str, attributes: Attributes) -> None:
        self.need(1 if self.lists else 2)
        self.lists.append(1 if tag == "ol" else None)

    def end_list(self, tag: str, attributes: Attributes) -> None:
        self.flush()
        if self.lists:
            self.lists.pop()
        self.need(1 if self.lists else 2)

    def start_item(self, tag: str, attributes: Attributes) -> None:
        self.need(1)
        number = self.lists[-1] if self.lists else None
        self.marker = "- " if number is None else f"{number}. "
        if number is not None:
            self.lists[-1] = number + 1
        self.push(" " * len(self.marker))

    def end_item(self, tag: str, attributes: Attributes) -> None:
        self.flush()
        self.marker = ""
        self.pop()
        self.pending = 0
        self.need(1)

    def start_quote(self, tag: str, attributes: Attributes) -> None:
        self.need(2)
        self.push("> ")

    def end_quote(self, tag: str, attributes: Attributes) -> None:
        self.flush()
        self.pop()
        self.need(2)

    def start_heading(self, tag: str, attributes: Attributes) -> None:
        self.paragraph.append("#" * int(tag[1]) + " ")

    def rule(self, tag: str, attributes: Attributes) -> None:
        self.need(2)
        self.write("---")
        self.need(2)

    def image(self, tag: str, attributes: Attributes) -> None:
        alt = attributes.get("alt", "").strip()
        self.paragraph.append("[image]" if alt in ("", NO_ALT) else f"[image: {alt}]")

    def raise_text(self, tag: str, attributes: Attributes) -> None:
        self.paragraph.append("^{" if tag == "sup" else "_{")

    def end_raised(self, tag: str, attributes: Attributes) -> None:
        self.paragraph.append("}")

    def start_row(self, tag: str, attributes: Attributes) -> None:
        self.cells = 0

    def start_cell(self, tag: str, attributes: Attributes) -> None:
        if self.cells:
            self.paragraph.append(" | ")
        self.cells += 1


Handler = Callable[[_Renderer, str, Attributes], None]

STARTS: Mapping[str, Handler] = {
    **dict.fromkeys(SILENT, _Renderer.start_silence),
    **dict.fromkeys(("ul", "ol"), _Renderer.start_list),
    **dict.fromkeys(("td", "th"), _Renderer.start_cell),
    **dict.fromkeys(("sup", "sub"), _Renderer.raise_text),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), _Renderer.start_heading),
    "pre": _Renderer.start_pre,
    "code": _Renderer.tick,
    "li": _Renderer.start_item,
    "blockquote": _Renderer.start_quote,
    "hr": _Renderer.rule,
    "img": _Renderer.image,
    "tr": _Renderer.start_row,
}

ENDS: Mapping[str, Handler] = {
    **dict.fromkeys(SILENT, _Renderer.end_silence),
    **dict.fromkeys(("ul", "ol"), _Renderer.end_list),
    **dict.fromkeys(("sup", "sub"), _Renderer.end_raised),
    "pre": _Renderer.end_pre,
    "code": _Renderer.tick,
    "li": _Renderer.end_item,
    "blockquote": _Renderer.end_quote,
}


def _bare_text(source: str) -> str:
    """The text between the tags, for what is nested too deeply to be parsed."""
    return unescape(TAG.sub(" ", source)).strip()


_parsers = threading.local()


def _parser() -> etree.HTMLParser:
    """This thread's parser; making one takes longer than parsing a post."""
    if getattr(_parsers, "parser", None) is None:
        _parsers.parser = etree.HTMLParser(target=_Renderer(), huge_tree=True)
    return _parsers.parser


def html_to_text(source: str) -> str:
    """The text of an HTML fragment; blank where it has none."""
    source = valid_text(source).replace("\0", "")
    if "<" not in source and "&" not in source:
        return single_blanks(source)
    parser = _parser()
    try:
        parser.feed(source)
        text: str = parser.close()
    except etree.XMLSyntaxError:
        _parsers.parser = None
        return _bare_text(source)
    return text or _bare_text(source)
