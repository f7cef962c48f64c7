"""Snakemake's own linter has nothing to say but what is so by design (docs/design.md), nor have we."""

from __future__ import annotations

import re

from tests.workflow.conftest import ROOT, Checkout

BY_DESIGN = (
    r"Specify a conda environment or container for each rule\.:",
    r"Shell command directly uses variable (PY|SCRIPTS) from outside of the rule:",
)


def test_the_linter_finds_only_what_is_so_by_design(checkout: Checkout) -> None:
    output = checkout.snakemake("--workflow-profile", "profiles/demo", "--lint", fails=True)
    findings = re.findall(r"^    \* (.*)$", output, re.MULTILINE)
    assert findings
    assert [found for found in findings if not any(re.fullmatch(known, found) for known in BY_DESIGN)] == []


def test_a_rule_made_from_a_local_one_says_whether_it_is_local() -> None:
    """Snakemake's ``use rule ... with`` makes a job of the cluster of it otherwise."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").rglob("*.smk")))
    blocks = re.findall(r"^(?:use )?rule (\w+)(?: as (\w+) with)?:\n((?:(?: .*)?\n)*)", text, re.MULTILINE)
    local = {made or name for name, made, body in blocks if "    localrule:" in body}
    made_from = {made: name for name, made, _ in blocks if made}
    assert {"fetch_benchmark", "publish_model"} <= set(made_from)
    assert {made for made, name in made_from.items() if name in local} <= local
