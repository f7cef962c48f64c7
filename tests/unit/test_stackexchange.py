"""StackExchange dumps: what becomes of HTML, and archives that are large, damaged, cut or changed."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import polars as pl
import py7zr
import pytest

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import file_sha256
from openthoughts.sources.markup import html_to_text, single_blanks
from openthoughts.sources.reading import read_questions


def posts(rows: list[str]) -> bytes:
    head, tail = '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n', "</posts>\n"
    return (head + "".join(f"  {row}\n" for row in rows) + tail).encode()


def row(number: int, body: str, kind: int = 1, **attributes: str) -> str:
    values = {"Id": str(number), "PostTypeId": str(kind), "Body": body, **attributes}
    return "<row " + " ".join(f"{name}={quoteattr(value)}" for name, value in values.items()) + " />"


def archive(path: Path, content: bytes, member: str = "Posts.xml") -> Path:
    filters = [{"id": py7zr.FILTER_LZMA2, "preset": 0}]
    with py7zr.SevenZipFile(path, "w", filters=filters) as file:
        file.writestr("<badges />", "Badges.xml")
        file.writestr(content, member)
    return path


def read(path: Path | str, revision: str | None = None) -> pl.DataFrame:
    entry = {"connector": "stackexchange", "site": "x.stackexchange.com", "url": str(path)}
    return pl.concat(read_questions("x", "science", entry, revision))


class TestText:
    @pytest.mark.parametrize(
        ("html", "text"),
        [
            ("<p>One  two\nthree</p>\n\n<p>Four</p>", "One two three\n\nFour"),
            ("<p>a &lt; b &amp;&amp; c&nbsp;d</p>", "a < b && c\xa0d"),
            ("<p>Let $a&lt;b$ and\n$$\\int x^2$$</p>", "Let $a<b$ and $$\\int x^2$$"),
            ("<pre><code>if x:\n    y &lt; 1\n\n</code></pre><p>end</p>", "```\nif x:\n    y < 1\n```\n\nend"),
            ("<p>call <code>f(x)</code> now</p>", "call `f(x)` now"),
            ("<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li></ul>e", "- a\n- b\n  1. c\n  2. d\n\ne"),
            ("<ol><li><p>a</p><p>b</p></li><li><p>c</p></li></ol>", "1. a\n\n   b\n2. c"),
            ("<blockquote><p>a</p><p>b</p></blockquote><p>c</p>", "> a\n>\n> b\n\nc"),
            ("<ul><li><pre><code>x\n\ny</code></pre></li></ul>", "- ```\n  x\n\n  y\n  ```"),
            ("10<sup>-3</sup> H<sub>2</sub>O", "10^{-3} H_{2}O"),
            ("a<br>b<br/>c", "a\nb\nc"),
            ("<h2>Head</h2>text<hr>more", "## Head\n\ntext\n\n---\n\nmore"),
            ('<img src="x" alt="a cat"><img src="y" alt="enter image description here">', "[image: a cat][image]"),
            ('<a href="http://x">link</a><!-- no --> tail', "link tail"),
            ("<script>no()</script><style>no</style>yes", "yes"),
            ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
            ("<p>unclosed <b>bold <i>both</b> after", "unclosed bold both after"),
            ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"),
            ("lone \ud800 and &#xD800; and \0", "lone � and � and "),
            ("", ""),
            ("<p> </p>", ""),
        ],
    )
    def test_readable(self, html: str, text: str) -> None:
        assert html_to_text(html) == text.rstrip(" ")

    def test_runs_of_blanks_become_one_space(self) -> None:
        for blanks in itertools.product(("", " ", "\t", "\n", "\r\n", "  ", "\xa0", "\f"), repeat=3):
            text = "a".join(blanks)
            assert single_blanks(text) == re.sub(r"[ \t\r\n\f]+", " ", text).strip(" ")

    def test_no_depth_of_nesting_is_too_much(self) -> None:
        assert html_to_text("<blockquote>" * 300 + "deep").endswith("deep")
        assert html_to_text("<b>" * 50_000 + "deep") == "deep"


class TestDump:
    def test_questions_only_each_once(self, tmp_path: Path) -> None:
        rows = [
            row(1, "<p>Why?</p>", Title="Why?", Tags="<x><y>", Score="3", ContentLicense="CC BY-SA 4.0"),
            row(2, "<p>Because.</p>", kind=2),
            row(3, "<p>Why?</p>"),
            row(4, ""),
            row(5, "<p>  </p>"),
            row(6, "<p>How\n&amp;amp;?</p>"),
            row(7, "<p>Tag wiki</p>", kind=5),
        ]
        table = read(archive(tmp_path / "x.7z", posts(rows)))
        assert table.select("source_row", "question").rows() == [("1", "Why?"), ("3", "Why?"), ("6", "How &amp;?")]
        assert json.loads(table["metadata"][0]) == {
            "title": "Why?",
            "tags": "<x><y>",
            "score": "3",
            "licence": "CC BY-SA 4.0",
        }

    def test_what_xml_forbids_is_replaced(self, tmp_path: Path) -> None:
        text = '<row Id="1" PostTypeId="1" Body="&lt;p&gt;a&#x0;b&#xD83D;c&#31;d&#xA;e&#9;f&#x1F600;&lt;/p&gt;" />'
        content = posts([text]).replace(b"e&#9;", b"e\xff&#9;")
        table = read(archive(tmp_path / "x.7z", content))
        assert table["question"].to_list() == ["a�b�c�d e� f😀"]

    def test_rows_that_are_not_laid_out_as_in_the_dumps(self, tmp_path: Path) -> None:
        one = "<row\n  Id='1'\n  PostTypeId='1'\n  Body='One?'\n/>"
        two = "<row Id='2' Body='No.' PostTypeId='2'></row><row Id='3' Body='Three?' PostTypeId='1'></row>"
        (tmp_path / "Posts.xml").write_bytes(posts([one, two]))
        assert read(tmp_path / "Posts.xml")["question"].to_list() == ["One?", "Three?"]

    def test_a_file_that_is_not_packed(self, tmp_path: Path) -> None:
        (tmp_path / "Posts.xml").write_bytes(posts([row(1, "One?")]))
        assert read(tmp_path / "Posts.xml")["question"].to_list() == ["One?"]

    def test_a_limit_stops_the_unpacking(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "x.7z", posts([row(number, f"Question {number}? " * 40) for number in range(20_000)]))
        entry = {"connector": "stackexchange", "site": "x", "url": str(path), "limit": 5}
        before = threading.active_count()
        assert pl.concat(read_questions("x", "science", entry)).height == 5
        assert threading.active_count() == before

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda path: path.write_bytes(path.read_bytes()[:-200]), "is damaged"),
            (lambda path: path.write_bytes(b"not an archive"), "is damaged"),
            (lambda path: archive(path, b"<row />", "Comments.xml"), "holds no Posts.xml"),
            (lambda path: archive(path, b"<posts>\n<row Id=\n"), "Posts.xml cannot be read"),
            (lambda path: path.unlink(), "does not exist"),
        ],
    )
    def test_archives_that_cannot_be_read(self, tmp_path: Path, spoil: Any, message: str) -> None:
        path = archive(tmp_path / "x.7z", posts([row(1, "One?")]))
        spoil(path)
        with pytest.raises(UserError, match=message):
            read(path)

    @pytest.mark.slow
    def test_memory_is_bounded(self, tmp_path: Path) -> None:
        path = tmp_path / "x.7z"
        body = "<p>" + "A long question, with $x^2$ in it. " * 25 + "</p>"
        archive(path, posts([row(number, f"{body}{number}", 1 + number % 2) for number in range(200_000)]))
        program = (
            "import re, sys; sys.path.insert(0, 'scripts')\n"
            "from openthoughts.sources.reading import read_questions, write_questions\n"
            "entry = {'connector': 'human_eval'}\n"
            "write_questions('x', 'code', entry, None, sys.argv[2])\n"
            "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
            "before = peak()\n"
            "entry = {'connector': 'stackexchange', 'site': 'x', 'url': sys.argv[1]}\n"
            "rows = write_questions('x', 'code', entry, None, sys.argv[2])\n"
            "print(rows, peak() - before)"
        )
        arguments = [sys.executable, "-c", program, str(path), str(tmp_path / "q.parquet")]
        output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        rows, kilobytes = map(int, output.split())
        assert rows == 100_000
        assert kilobytes < 500_000, f"{kilobytes} kB for 200 MB of XML that is packed to almost nothing"


class Server:
    """Serves one file, cutting the first answers short, with or without ranges."""

    def __init__(self, content: bytes, cuts: int, ranges: bool = True, status: int | None = None) -> None:
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.ranges.append(asked)
                if status:
                    self.send_error(status)
                    return
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and ranges else 0
                if start >= len(content):
                    self.send_error(416)
                    return
                body = content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                cut = len(outer.ranges) <= cuts
                self.wfile.write(body[: len(body) // 2] if cut else body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/x.7z"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("OPENTHOUGHTS_CACHE", str(tmp_path / "cache"))
    path = archive(tmp_path / "x.7z", posts([row(number, f"Question {number}?") for number in range(50)]))
    running: list[Server] = []

    def serve(**how: Any) -> tuple[Server, str]:
        server = Server(path.read_bytes(), **how)
        threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return server, file_sha256(path)

    yield serve
    for server in running:
        server.server.shutdown()
        server.server.server_close()


class TestDownload:
    @pytest.mark.parametrize("ranges", [True, False])
    def test_a_cut_download_goes_on(self, served: Any, ranges: bool) -> None:
        server, digest = served(cuts=2, ranges=ranges)
        assert read(server.address, digest).height == 50
        assert server.ranges[0] is None
        assert server.ranges[1] is not None
        asked = len(server.ranges)
        assert read(server.address, digest).height == 50
        assert len(server.ranges) == asked, "downloaded once"

    def test_only_the_pinned_file_is_read(self, served: Any) -> None:
        server, digest = served(cuts=0)
        with pytest.raises(UserError, match="is not pinned to a checksum: run `snakemake lock`"):
            read(server.address)
        with pytest.raises(UserError, match="is not the file that is pinned"):
            read(server.address, "0" * 64)
        assert read(server.address, digest).height == 50

    def test_a_server_that_refuses(self, served: Any) -> None:
        server, digest = served(cuts=0, status=404)
        with pytest.raises(UserError, match="answers with status 404: fix `url`"):
            read(server.address, digest)
