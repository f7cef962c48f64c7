"""Results that no configured recipe or experiment uses are listed, and removed only where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collect_garbage import main
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = {"seeds": {"base": "openthoughts3", "vary": {"training.seed": list(range(1000, 1003))}}}


def hashes(config: dict[str, Any]) -> set[str]:
    """The hashes of a configuration's stages, asked for or not."""
    everything = {**config, "targets": [*config["recipes"], *config["experiments"]]}
    return {
        stage.id.rpartition("-")[2] for stage in make_plan(everything, read_catalog(config["catalog"])).index.values()
    }


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The arguments for a folder of results, of which one is of an experiment that is no target."""
    changes = {"catalog": [str(ROOT / "catalog")], "results": str(tmp_path), "experiments": EXPERIMENT}
    with_experiment, without = (
        hashes(read_config([ROOT / "config.yaml"], json.dumps({**changes, **more})))
        for more in ({}, {"experiments": {}})
    )
    unshared = min(with_experiment - without)
    for folder in (f"students/base-{unshared}", "drawn/math-ba9876543210", "students/small-111111111111", "logs/x"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "questions.parquet").write_bytes(b"x" * 1000)
    (tmp_path / "used").symlink_to(tmp_path / f"students/base-{unshared}")
    return ["--config", str(ROOT / "config.yaml"), "--set", json.dumps(changes)]


def test_unused_results_are_listed_and_stay(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    listed = capsys.readouterr().out
    assert "math-ba9876543210" in listed
    assert "small-111111111111" in listed
    assert (tmp_path / "used").resolve().name not in listed
    assert (tmp_path / "drawn/math-ba9876543210").is_dir()


def test_only_unused_stages_are_removed(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--remove"]) == 0
    assert not (tmp_path / "drawn/math-ba9876543210").exists()
    assert not (tmp_path / "students/small-111111111111").exists()
    assert (tmp_path / "used/questions.parquet").is_file()
    assert (tmp_path / "logs/x").is_dir()
