"""A headless Chromium for the tests that look at pages; it fetches nothing from outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ARTIFACTS = "TEST_ARTIFACTS"
"""Environment variable that names a folder in which pictures of pages are kept."""


@contextmanager
def headless_chromium() -> Iterator[webdriver.Chrome]:
    """A running browser; the test is skipped where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium: install chromium and chromium-driver to look at the report")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1400,900",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield running
    finally:
        running.quit()


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser's console says since it was last asked."""
    return [f"{entry['level']}: {entry['message']}" for entry in browser.get_log("browser")]


def keep_picture(browser: webdriver.Chrome, name: str, folder: Path) -> Path:
    """Keep a picture of the page in the folder of artifacts, else in ``folder``."""
    place = Path(os.environ.get(ARTIFACTS) or folder)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{name}.png"
    assert browser.save_screenshot(str(path))
    return path
