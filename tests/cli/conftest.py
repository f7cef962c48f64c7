"""What the tests of the programs share: a finished small recipe, which they must not change, and a server to ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.fake_openai import FakeServer
from tests.finished_recipe import Finished, finished_recipe

from openthoughts.base.places import WORKFLOW


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished recipe; not to be changed."""
    return finished_recipe(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def own_results(tiny: Finished, tmp_path: Path) -> Path:
    """A copy of its results that a test may change."""
    return Path(shutil.copytree(tiny.plan.results, tmp_path / "results", symlinks=True))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A hosted API, or an engine that is up already."""
    with FakeServer() as running:
        yield running


CLUSTER_COMMANDS = {
    "sinfo": "cat <<END\ncpu|up|2-00:00:00|(null)\ngpu|up|1-00:00:00|gpu:a100:8(S:0-1)\nold|down|1:00|(null)\nEND",
    "sacctmgr": "echo physics",
    "squeue": "exit 0",
    "scontrol": "echo 'MinJobAge               = 300 sec'",
}


@pytest.fixture
def cluster_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small recipe whose teacher is a hosted model, and a cluster's commands in the path."""
    monkeypatch.chdir(WORKFLOW)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in CLUSTER_COMMANDS.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("ORACLE_KEY", "secret")
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    (catalog / "sums.jsonl").write_text('{"question": "What is 1 plus 1?"}\n')
    table = {
        "connector": "local",
        "domain": "math",
        "path": str(catalog / "sums.jsonl"),
        "column": "question",
        "rows": 1,
    }
    hosted = {"kind": "api", "api_model": "o", "base_url": "http://127.0.0.1:9/v1", "api_key_variable": "ORACLE_KEY"}
    (catalog / "sources.yaml").write_text(yaml.safe_dump({"sums": {**table, "rows": 1}}))
    (catalog / "benchmarks.yaml").write_text(yaml.safe_dump({"roads": table}))
    (catalog / "models.yaml").write_text(yaml.safe_dump({"oracle": {**hosted, "tokenizer": "qwen"}}))
    recipe = {
        "decontaminate": {"benchmarks": ["roads"]},
        "answers": {"teacher": "oracle", "samples": 1},
        "domains": {"math": {"sources": ["sums"], "select": {"by": "random"}}},
    }
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "targets": ["tiny"],
                "results": str(tmp_path / "results"),
                "store": str(tmp_path / "store"),
                "catalog": ["catalog", str(catalog)],
                "recipes": {"tiny": recipe},
            }
        )
    )
    return path
