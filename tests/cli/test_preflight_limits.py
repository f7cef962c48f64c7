"""What ``snakemake preflight`` finds of jobs that a cluster would refuse, or leave waiting; its commands are played.

``tests/slurm/test_preflight.py`` asks a real one, which has no accounting.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_preflight import GOOD

import preflight

SINFO = """case "$*" in
*--Node*) echo 'g1|64|512000|gpu:a100:8(S:0-1)|idle'; echo 'g2|64|512000|gpu:a100:8(S:0-1)|drained*' ;;
*) printf 'cpu|up|2-00:00:00|(null)\\ngpu|up|1-00:00:00|gpu:a100:8(S:0-1)\\n' ;;
esac"""
SCONTROL = """case "$*" in
*partition*)
  echo "PartitionName=$4 AllowAccounts={accounts} MaxNodes=2 MaxTime=1-00:00:00 MaxMemPerNode=500000 QoS={qos}" ;;
*) printf 'MinJobAge = 300 sec\\nAccountingStorageEnforce = {enforced}\\n' ;;
esac"""
SACCTMGR = """case "$*" in
*"show qos"*) echo 'normal|{submitted}||||gres/gpu=4|'; echo 'long|||2-00:00:00|||' ;;
*defaultqos*) echo 'physics||normal|50|||cpu=32|' ;;
*) echo physics ;;
esac"""
ENGINE = ("-A", "physics", "-p", "gpu", "-t", "600", "--mem", "100000", "--nodes=1", "--cpus-per-task=13")


def play(
    folder: Path, accounts: str = "ALL", qos: str = "N/A", enforced: str = "associations,limits", submitted: str = ""
) -> None:
    """Play a cluster of two nodes of 8 GPUs, one of them drained."""
    commands = {
        "sinfo": SINFO,
        "scontrol": SCONTROL.format(accounts=accounts, qos=qos, enforced=enforced),
        "sacctmgr": SACCTMGR.format(submitted=submitted),
        "sbatch": "echo 'sbatch: Job 1 to start at 2026-11-29T14:40:54' >&2",
    }
    for name, body in commands.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "bin" / name).chmod(0o755)


def look(
    cluster_config: Path,
    capsys: pytest.CaptureFixture[str],
    *attempts: tuple[str, ...],
    jobs: int = 200,
    count: int = 1,
) -> tuple[int, str]:
    """Status and output of a preflight of jobs of one rule that ask for this at their attempts."""
    rules = {"sample_answers": count}
    record: dict[str, Any] = {
        "allocations": [{"rules": rules, "attempts": [[number, words] for number, words in enumerate(attempts, 1)]}],
        "unknown": {},
        "jobs": jobs,
    }
    path = cluster_config.parent / "allocations.json"
    path.write_text(json.dumps(record))
    status = preflight.main(
        ["--config", str(cluster_config), "--cluster", json.dumps(GOOD), "--allocations", str(path), "--offline"]
    )
    return status, capsys.readouterr().out


def with_gpus(number: int, **changed: str) -> tuple[str, ...]:
    """The request of an engine's job, some of its arguments changed."""
    words = [changed.get(before.lstrip("-"), word) for before, word in zip(("", *ENGINE), ENGINE, strict=False)]
    return (*words, f"--gres=gpu:a100:{number}")


def test_what_fits_is_ok_and_what_cannot_be_seen_is_said(
    cluster_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(cluster_config.parent)
    status, output = look(cluster_config, capsys, with_gpus(4))
    assert status == 0, output
    assert re.search(r"^ok +jobs of sample_answers +gpu: 4 a100, 13 cores, 100 GB, 10 h$", output, re.MULTILINE)
    assert "account physics, QOS normal; up to 1 jobs are submitted at once" in output
    assert "- limits of parent accounts, because sacctmgr is asked for your own associations only" in output


@pytest.mark.parametrize(
    ("attempts", "found", "remedy"),
    [
        (
            (with_gpus(4), with_gpus(4, t="1800")),
            "attempt 2 asks for 30 h, gpu allows 24 h",
            "min(1440, 600 * attempt)",
        ),
        ((with_gpus(4, mem="505000"),), "it asks for 505 GB a node, gpu allows 500 GB", "mem_mb: 500000"),
        (((*with_gpus(4), "--nodes=3"),), "gpu allows 2 nodes a job", "`nodes` of the training"),
        (((*with_gpus(4), "--nodes=2"),), "1 of the 2 nodes that have it take jobs now, 2 are needed", "wait until"),
        ((with_gpus(8),), "asks for 8 gres/gpu, QOS normal for a user allows 4", "another QOS"),
        (((*with_gpus(4), "--cpus-per-task=40"),), "asks for 40 cpu, account physics for a job allows 32", "less"),
        (((*ENGINE, "--gres=gpu:h100:1"),), "asks for 1 h100 a node, nodes of gpu have 0 at most", "tensor_parallel"),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_write(
    cluster_config: Path, capsys: pytest.CaptureFixture[str], attempts: Any, found: str, remedy: str
) -> None:
    play(cluster_config.parent)
    status, output = look(cluster_config, capsys, *attempts)
    assert status == 1
    lines = output.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("problem")]
    assert found in lines[place]
    assert remedy in lines[place + 1]


def test_a_qos_that_is_named_counts_instead_of_the_default_one(
    cluster_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(cluster_config.parent)
    status, output = look(cluster_config, capsys, (*with_gpus(8), "--qos=long"))
    assert status == 0, output


def test_more_jobs_at_once_than_may_be_submitted_are_a_problem(
    cluster_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(cluster_config.parent, submitted="20")
    status, output = look(cluster_config, capsys, with_gpus(4), jobs=100, count=1000)
    assert status == 1
    assert "up to 100 are submitted at once, 20 are allowed" in output
    assert "-> write `jobs: 20` in the profile" in output
    assert look(cluster_config, capsys, with_gpus(4), jobs=100, count=10)[0] == 0, "the plan has fewer jobs"


def test_limits_that_the_cluster_does_not_enforce_are_no_problem(
    cluster_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(cluster_config.parent, enforced="none")
    status, output = look(cluster_config, capsys, with_gpus(8), jobs=1000, count=1000)
    assert status == 0, output
    assert "the cluster does not enforce any" in output


def test_a_partition_for_other_accounts_is_told(cluster_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(cluster_config.parent, accounts="chemistry")
    status, output = look(cluster_config, capsys, with_gpus(4))
    assert status == 1
    assert "gpu is not for account physics" in output


def test_what_does_not_answer_is_skipped_not_fine(
    cluster_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(cluster_config.parent)
    monkeypatch.setenv("PATH", str(cluster_config.parent / "bin"))
    (cluster_config.parent / "bin" / "sacctmgr").write_text("#!/bin/sh\nexit 1\n")
    (cluster_config.parent / "bin" / "sbatch").unlink()
    output = look(cluster_config, capsys, with_gpus(8))[1]
    assert "- sbatch --test-only, because sbatch does not answer" in output
    assert "- limits of account and QOS, because sacctmgr does not tell them" in output
    assert "- account, because sacctmgr does not say whether you may use physics" in output


def test_what_sbatch_refuses_is_told_in_its_words(cluster_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(cluster_config.parent)
    (cluster_config.parent / "bin" / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid qos' >&2\nexit 1\n")
    status, output = look(cluster_config, capsys, with_gpus(4))
    assert status == 1
    assert "sbatch refuses attempt 1 (invalid qos)" in output
    assert "change what sample_answers asks for in `set-resources:` of the profile" in output
