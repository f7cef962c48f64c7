"""What ``snakemake preflight`` says of a cluster, the keys, the lock and the disk; its commands are played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import preflight

GOOD = {
    "account": "physics",
    "cpu_partition": "cpu",
    "gpu_partition": "gpu",
    "gpu_type": "a100",
    "network_partition": "",
}


def look(cluster_config: Path, cluster: dict[str, str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = preflight.main(["--config", str(cluster_config), "--cluster", json.dumps(cluster), "--offline"])
    return status, capsys.readouterr().out


def test_where_all_is_well_nothing_is_left_behind(cluster_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, output = look(cluster_config, GOOD, capsys)
    assert status == 0, output
    assert "problem" not in output
    assert not list((cluster_config.parent / "store").iterdir())


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
    cluster_config: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, str], said: str, remedy: str
) -> None:
    status, output = look(cluster_config, {**GOOD, **wrong}, capsys)
    assert status == 1
    (place,) = [number for number, line in enumerate(output.splitlines()) if line.startswith("problem")]
    assert said in output.splitlines()[place]
    assert remedy in output.splitlines()[place + 1]


def test_a_part_of_a_gpu_is_a_type_of_gpu(cluster_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cluster_config.parent / "bin" / "sinfo").write_text(
        "#!/bin/sh\nprintf 'cpu|up|1:00|(null)\\ngpu|up|1:00|gpu:1g.10gb:2(S:0-1),lscratch:900\\n'\n"
    )
    status, output = look(cluster_config, {**GOOD, "gpu_type": "1g.10gb"}, capsys)
    assert status == 0, output
    assert "1g.10gb in gpu" in output


def test_a_forgetful_queue_and_a_missing_key_are_problems(
    cluster_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (cluster_config.parent / "bin" / "scontrol").write_text("#!/bin/sh\necho 'MinJobAge = 30 sec'\n")
    monkeypatch.delenv("ORACLE_KEY")
    status, output = look(cluster_config, GOOD, capsys)
    assert status == 1
    assert "squeue forgets an ended job after 30 s" in output
    assert "ORACLE_KEY is not set" in output
    assert "2 of " in output


def test_away_from_the_cluster_the_first_line_says_so(
    cluster_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (cluster_config.parent / "bin" / "sinfo").write_text("#!/bin/sh\nexit 1\n")
    status, output = look(cluster_config, GOOD, capsys)
    assert status == 1
    assert "run on a login node of the cluster" in output


def test_a_store_that_cannot_be_written_is_a_problem(cluster_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cluster_config.parent / "store").write_text("a file, no folder")
    status, output = look(cluster_config, GOOD, capsys)
    assert status == 1
    assert "choose a folder" in output
