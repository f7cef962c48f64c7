"""A recipe's page in a real browser: nothing fetched, nothing run, everything drawn and found, on a phone too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from tests.browser import complaints, headless_chromium, keep_picture
from tests.finished_recipe import HOSTILE, Finished

import write_report
from openthoughts.report.page.page import embedded

SECTIONS = (
    "funnel", "questions", "decontamination", "duplicates", "answers", "training", "scores", "experiments", "spending",
    "resources", "lock", "rows",
)  # fmt: skip


def write(tiny: Finished, page: Path) -> None:
    """Write the recipe's page with the arguments that the rule gives."""
    given = ["--plan", str(tiny.plan_file()), "--recipe", "tiny", "--manifest", str(tiny.manifest)]
    assert write_report.main([*given, "--output", str(page)]) == 0


@pytest.fixture(scope="module")
def page(tiny: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write(tiny, path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with headless_chromium() as running:
        yield running


@pytest.fixture
def opened(browser: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    """The page in a window of a desktop, with a console that has been quiet."""
    browser.set_window_size(1400, 900)
    browser.get(page.as_uri())
    return browser


def test_the_same_results_give_the_same_page(tiny: Finished, page: Path, tmp_path: Path) -> None:
    write(tiny, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_three_rows_stand_there_as_they_are_trained_on(opened: webdriver.Chrome) -> None:
    training = opened.find_element(By.ID, "training")
    shown = [fold for fold in training.find_elements(By.TAG_NAME, "details") if "as it is trained on" in fold.text]
    assert [fold.text for fold in shown] == [
        f"Row {row} as it is trained on: 24 tokens, 12 of them (marked) learnt" for row in (0, 85, 169)
    ]
    shown[0].find_element(By.TAG_NAME, "summary").click()
    assert shown[0].find_element(By.TAG_NAME, "mark").text == "It is 4.<|im_end|>"
    assert "<|im_start|>user\nWhat is 2 + 2?<|im_end|>" in shown[0].find_element(By.TAG_NAME, "pre").text
    assert "dropped: their question leaves no room for an answer" in training.text


def test_it_opens_with_every_section_and_every_plot_and_no_complaint(opened: webdriver.Chrome, tmp_path: Path) -> None:
    assert complaints(opened) == []
    assert [section.get_attribute("id") for section in opened.find_elements(By.TAG_NAME, "section")] == list(SECTIONS)
    pictures = opened.execute_script(
        "return [...document.images].map(i => [i.alt, i.complete, i.naturalWidth, i.naturalHeight])"
    )
    assert len(pictures) >= 20
    assert all(complete and width > 100 and height > 40 for _, complete, width, height in pictures), pictures
    titles = {title for title, *_ in pictures}
    assert {
        "sums: response length", "math: length", "Dropped questions by benchmark and method",
        "Dropped questions by length", "math: agreement", "math: languages", "loss", "learning rate", "exam",
        "choices: average",
    } <= titles  # fmt: skip
    flows = opened.find_elements(By.CSS_SELECTOR, ".sankey path")
    assert len(flows) >= 15
    assert all(flow.size["width"] > 0 for flow in flows)
    assert keep_picture(opened, "report", tmp_path).stat().st_size > 20_000


def test_hostile_data_shows_as_text(opened: webdriver.Chrome) -> None:
    assert opened.title == "tiny"
    assert opened.find_elements(By.CSS_SELECTOR, "img[src='x'], [onerror], [onload]") == []
    for name in ("leaks", "duplicates", "rows"):
        texts = opened.execute_script(
            f"return document.querySelector('[data-list={name}]').textContent"  # every text, folded ones too
        )
        assert name == "duplicates" or HOSTILE in texts
    scripts = opened.execute_script("return document.scripts.length")
    assert scripts == 2, "the data and the page's own"
    opened.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = 'document.title = \"ran\"'; document.body.append(script)"
    )
    assert opened.title == "tiny", "no other script runs, even where one gets in"
    assert any("Content Security Policy" in complaint for complaint in complaints(opened))


def listed(browser: webdriver.Chrome, name: str) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, f"[data-list={name}] .row")
    return [row.get_attribute("textContent") or "" for row in rows]


def test_rows_are_found_by_words_and_by_domain(opened: webdriver.Chrome) -> None:
    (search,) = opened.find_elements(By.CSS_SELECTOR, "[data-list=rows] input")
    assert len(listed(opened, "rows")) == 20
    opened.find_element(By.CSS_SELECTOR, "[data-list=rows] button").click()
    assert len(listed(opened, "rows")) == 40
    search.send_keys("Programs ONERROR")
    found = listed(opened, "rows")
    assert found
    assert all("programs" in text and "onerror" in text for text in found)
    search.clear()
    search.send_keys("no row has these words")
    assert listed(opened, "rows") == []
    assert opened.find_element(By.CSS_SELECTOR, "[data-list=rows] .tools").text.endswith("0 of 179")
    search.clear()
    search.send_keys(" ")
    opened.find_element(By.CSS_SELECTOR, "[data-list=rows] select option[value=code]").click()
    assert all(text.startswith("code, programs") for text in listed(opened, "rows"))


def test_reasoning_is_folded(opened: webdriver.Chrome) -> None:
    row = opened.find_element(By.CSS_SELECTOR, "[data-list=rows] .row")
    reasoning = row.find_element(By.CSS_SELECTOR, "details .text")
    assert not reasoning.is_displayed()
    row.find_element(By.TAG_NAME, "summary").click()
    assert reasoning.is_displayed()
    assert reasoning.text.startswith("Let me see.")
    assert "<think>" not in row.text


def test_a_leak_stands_beside_what_it_matches_with_what_is_common_marked(opened: webdriver.Chrome) -> None:
    rows = opened.find_elements(By.CSS_SELECTOR, "[data-list=leaks] .row")
    (part,) = [row for row in rows if "A farmer wrote" in row.text]
    marks = {mark.text for mark in part.find_elements(By.TAG_NAME, "mark")}
    assert len(marks) == 1, "the run that both share, on both sides"
    assert "positive integer such that n squared" in marks.pop()
    left, right = part.find_elements(By.CSS_SELECTOR, ".pair > div")
    assert left.location["y"] == right.location["y"]


def test_it_is_readable_on_a_phone(opened: webdriver.Chrome, tmp_path: Path) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        width, inner = opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert (width, inner) == (375, 375)
        small = opened.execute_script(
            "return [...document.images].filter(i => i.width < 0.85 * i.naturalWidth).map(i => i.alt)"
        )
        assert small == [], "no plot is shrunk until it cannot be read"
        keep_picture(opened, "report-phone", tmp_path)
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


class Addresses(HTMLParser):
    """The addresses that a page's elements name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}}


def test_it_is_one_file_that_fetches_nothing(page: Path) -> None:
    parser = Addresses()
    text = page.read_text(encoding="utf-8")
    parser.feed(text)
    assert all(address.startswith(("#", "data:")) for address in parser.found)
    assert "default-src &#39;none&#39;" in text
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text.split("<body>")[0] + text.rsplit("<script>")[-1])


def test_scores_stand_beside_the_papers(tiny: Finished) -> None:
    import polars as pl

    from openthoughts.report.page.answer_sections import published

    scores = pl.DataFrame({"model": ["student"] * 2, "benchmark": ["aime24", "exam"], "score": [50.0, 60.0]})
    assert published(scores).rows() == [("OpenThinker3-7B (paper)", "aime24", 69.0)]


@pytest.mark.parametrize("text", ["</script>", "<!--", "&lt;", "\u2028", "<\\/script>"])
def test_embedded_data_is_never_markup(text: str) -> None:
    shown = str(embedded({text: [text]}))
    assert not set("<>&") & set(shown)
    assert json.loads(shown) == {text: [text]}
