"""What ``snakemake preflight`` says of a cluster, the keys, the lock and the disk; its commands are played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import preflight
from openthoughts.base.places import WORKFLOW

COMMANDS = {
    "sinfo": "cat <<END\ncpu|up|2-00:00:00|(null)\ngpu|up|1-00:00:00|gpu:a100:8(S:0-1)\nold|down|1:00|(null)\nEND",
    "sacctmgr": "echo physics",
    "squeue": "exit 0",
    "scontrol": "echo 'MinJobAge               = 300 sec'",
}
GOOD = {
    "account": "physics",
    "cpu_partition": "cpu",
    "gpu_partition": "gpu",
    "gpu_type": "a100",
    "network_partition": "",
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small recipe whose teacher is a hosted model, and a cluster's commands in the path."""
    monkeypatch.chdir(WORKFLOW)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in COMMANDS.items():
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


def look(config: Path, cluster: dict[str, str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = preflight.main(["--config", str(config), "--cluster", json.dumps(cluster), "--offline"])
    return status, capsys.readouterr().out


def test_where_all_is_well_nothing_is_left_behind(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, output = look(config, GOOD, capsys)
    assert status == 0, output
    assert "problem" not in output
    assert not list((config.parent / "store").iterdir())


@pytest.mark.parametrize(
    ("wrong", "said", "remedy"),
    [
        ({"gpu_partition": "gqu"}, "there is no gqu", "cpu, gpu, old"),
        ({"cpu_partition": "old"}, "old is down", "name another one"),
        ({"gpu_type": "h100"}, "no h100 in gpu", "a100"),
        ({"account": "chemistry"}, "no account chemistry", "physics"),
        ({"account": ""}, "the profile names none", "physics"),
    ],
)
def test_a_wrong_line_of_the_profile_is_named_with_what_would_be_right(
    config: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, str], said: str, remedy: str
) -> None:
    status, output = look(config, {**GOOD, **wrong}, capsys)
    assert status == 1
    (place,) = [number for number, line in enumerate(output.splitlines()) if line.startswith("problem")]
    assert said in output.splitlines()[place]
    assert remedy in output.splitlines()[place + 1]


def test_a_forgetful_queue_and_a_missing_key_are_problems(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "bin" / "scontrol").write_text("#!/bin/sh\necho 'MinJobAge = 30 sec'\n")
    monkeypatch.delenv("ORACLE_KEY")
    status, output = look(config, GOOD, capsys)
    assert status == 1
    assert "squeue forgets an ended job after 30 s" in output
    assert "ORACLE_KEY is not set" in output
    assert "2 of " in output


def test_away_from_the_cluster_the_first_line_says_so(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "bin" / "sinfo").write_text("#!/bin/sh\nexit 1\n")
    status, output = look(config, GOOD, capsys)
    assert status == 1
    assert "run on a login node of the cluster" in output


def test_a_store_that_cannot_be_written_is_a_problem(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "store").write_text("a file, no folder")
    status, output = look(config, GOOD, capsys)
    assert status == 1
    assert "choose a folder" in output
