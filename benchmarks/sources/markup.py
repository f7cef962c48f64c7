"""Our HTML to text beside that of libraries on 1,000 posts: speed, and whether code and formulas come through.

    .venv/bin/python -m benchmarks.sources.markup

Prints a table in Markdown; libraries that are not installed are left out.

A post is a section of the Markdown that installed packages carry (prose, code, lists, tables), rendered to HTML, and a
paragraph with a formula.
"""

from __future__ import annotations

import random
import re
import sysconfig
import time
from collections.abc import Callable
from html import escape, unescape
from importlib import import_module
from pathlib import Path

from benchmarks import ROOT  # noqa: F401  (puts scripts/ on the path)
from markdown_it import MarkdownIt

from openthoughts.sources.markup import html_to_text

POSTS = 1000
CODE = re.compile(r"<pre><code[^>]*>(.*?)</code></pre>", re.DOTALL)
FORMULAS = (
    r"$a_{n+1} = \frac{a_n + b_n}{2}$",
    r"$f(x) = x^2 * g(x) * h_1(x)$",
    r"$\sum_{i=1}^{n} i < n^2$",
    r"$\{x \in A : x > 0 \& x \ne 1\}$",
    r"$\vec{F}_{12} = -\vec{F}_{21}$",
)
FORMULA = re.compile("|".join(re.escape(escape(formula)) for formula in FORMULAS))
DEEP = "<b>" * 50_000 + "deep"

Converter = Callable[[str], str]


def posts() -> list[str]:
    """HTML of posts; the same on the same installed packages."""
    folder = Path(sysconfig.get_path("purelib"))
    files = [*folder.rglob("*.md"), *folder.glob("*.dist-info/METADATA")]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    sections = {part for text in texts for part in re.split(r"\n(?=#+ )", text) if 200 < len(part) < 6000}
    render = MarkdownIt("commonmark").enable("table").render
    chosen = random.Random(0).sample(sorted(sections), POSTS)
    return [
        f"{render(part)}<p>Why is {escape(FORMULAS[place % len(FORMULAS)])}?</p>\n" for place, part in enumerate(chosen)
    ]


def converters() -> dict[str, Converter]:
    """Ours and those of the libraries that are installed."""
    found: dict[str, Converter] = {"ours": html_to_text}
    for module, function in (("markdownify", "markdownify"), ("inscriptis", "get_text"), ("html2text", "html2text")):
        try:
            found[module] = getattr(import_module(module), function)
        except ImportError:
            print(f"{module} is not installed: left out")
    return found


def kept(pattern: re.Pattern[str], sources: list[str], texts: list[str]) -> str:
    """Of how many of the matches in the posts every line is a part of the text."""
    found = [
        all(line.strip() in text for line in unescape(match[match.lastindex or 0]).strip().splitlines())
        for source, text in zip(sources, texts, strict=True)
        for match in pattern.finditer(source)
    ]
    return f"{100 * sum(found) / len(found):.1f} % of {len(found):,}"


def reads_deep(convert: Converter) -> str:
    """What becomes of 50,000 nested elements."""
    try:
        return "read" if "deep" in convert(DEEP) else "lost"
    except Exception as error:
        return type(error).__name__


def main() -> None:
    """Print the table."""
    sources = posts()
    size = sum(map(len, sources)) / 1e6
    print(f"{POSTS:,} posts, {size:.1f} MB\n")
    print("| converter | posts per CPU s | code unchanged | formulas unchanged | 50,000 nested elements |")
    print("|---|--:|--:|--:|---|")
    for name, convert in converters().items():
        began = time.process_time()
        texts = [convert(source) for source in sources]
        rate = POSTS / (time.process_time() - began)
        print(f"| {name} | {rate:,.0f} | {kept(CODE, sources, texts)} | {kept(FORMULA, sources, texts)} ", end="")
        print(f"| {reads_deep(convert)} |", flush=True)


if __name__ == "__main__":
    main()
