"""Links between the pages of the documentation lead somewhere, and lists in them are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "config/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are shown on the web."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(place), f"{page.name}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            place = (page.parent / target).resolve()
            if place.suffix == ".md" and place.is_file() and place not in reached:
                waiting.append(place)
    assert set(PAGES) - reached <= {ROOT / "config/README.md"}


def test_every_private_interface_of_snakemake_is_listed() -> None:
    files = [ROOT / "Snakefile", ROOT / "workflow/Snakefile", *(ROOT / "rules").rglob("*.smk")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    used = set(re.findall(r"\bworkflow\.[a-z_]+", text)) | set(re.findall(r"\bfrom (snakemake\.\w+) import", text))
    page = (ROOT / "docs/decisions/private-snakemake.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `((?:workflow|snakemake)\.\w+)", page, re.MULTILINE))
    assert used - {"snakemake.utils"} == listed
