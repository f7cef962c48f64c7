"""Configurations as people get them wrong: every mistake in one go, once, at the path that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from openthoughts.plan.config import ConfigurationError, read_config
from openthoughts.plan.validation import configured

ROOT = Path(__file__).resolve().parents[2]

CASES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "tests/data/wrong_configurations.yaml").read_text())
"""What is wrong -> a configuration that is laid over the default one, and what is told, without the proposals."""


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_mistake_is_told_at_once(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(case["configuration"]))
    with pytest.raises(ConfigurationError) as caught:
        configured(read_config([Path("config.yaml"), path]))
    assert [problem.partition(" (")[0] for problem in caught.value.problems] == case["told"]
