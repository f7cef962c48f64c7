"""Snakemake's own linter has nothing to say but what is so by design (docs/design.md)."""

from __future__ import annotations

import re

from tests.workflow.conftest import Checkout

BY_DESIGN = (
    r"Specify a conda environment or container for each rule\.:",
    r"Shell command directly uses variable (PY|SCRIPTS) from outside of the rule:",
)


def test_the_linter_finds_only_what_is_so_by_design(checkout: Checkout) -> None:
    output = checkout.snakemake("--workflow-profile", "profiles/demo", "--lint", fails=True)
    findings = re.findall(r"^    \* (.*)$", output, re.MULTILINE)
    assert findings
    assert [found for found in findings if not any(re.fullmatch(known, found) for known in BY_DESIGN)] == []
