"""What ``snakemake preflight`` finds of jobs that a cluster would refuse, or leave waiting; its commands are played.

``tests/slurm/test_preflight_on_a_cluster.py`` asks a real one, which has no accounting.
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
  echo "PartitionName=$4 AllowAccounts={accounts} MaxNodes=2 MaxTime=1-00:00:00 {memory} QoS={qos}" ;;
*) printf 'MinJobAge = 300 sec\\nAccountingStorageEnforce = {enforced}\\n' ;;
esac"""
SACCTMGR = """case "$*" in
*"show qos"*) printf 'normal||{submitted}||||gres/gpu=4|\nlong||||2-00:00:00|||\n{more}' ;;
*defaultqos*) printf '{associations}\n' ;;
*) echo physics ;;
esac"""
ENGINE = ("-A", "physics", "-p", "gpu", "-t", "600", "--mem", "100000", "--nodes=1", "--cpus-per-task=13")


def play(
    folder: Path,
    accounts: str = "ALL",
    qos: str = "N/A",
    enforced: str = "associations,limits",
    submitted: str = "",
    memory: str = "MaxMemPerNode=500000",
    more: str = "",
    associations: str = "physics||normal|50|||cpu=32|",
) -> None:
    """Play a cluster of two nodes of 8 GPUs, one of them drained.

    ``more``: further QOS (name, flags, most jobs of a user and in all, time, TRES of a job, of a user and in all).
    """
    commands = {
        "sinfo": SINFO,
        "scontrol": SCONTROL.format(accounts=accounts, qos=qos, enforced=enforced, memory=memory),
        "sacctmgr": SACCTMGR.format(submitted=submitted, more=more, associations=associations),
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
    others: dict[str, tuple[int, tuple[str, ...]]] | None = None,
    reads_input: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Status and output of a preflight of jobs of one rule that ask for this at their attempts.

    ``others``: further rules, with the number of their jobs and what they ask for.
    """
    rules = {
        "sample_answers": (count, attempts),
        **{name: (n, (words,)) for name, (n, words) in (others or {}).items()},
    }
    record: dict[str, Any] = {
        "allocations": [
            {"rules": {name: number}, "attempts": [[attempt, words] for attempt, words in enumerate(asked, 1)]}
            for name, (number, asked) in rules.items()
        ],
        "unknown": {},
        "reads_input": reads_input,
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
    assert "QOS normal, account physics (50 jobs); up to 1 jobs are submitted at once" in output
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


CPU = ("-A", "physics", "-p", "cpu", "-t", "60", "--mem", "1000", "--nodes=1", "--cpus-per-task=1")


def test_a_limit_counts_only_the_jobs_that_run_under_it(
    cluster_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    free = "physics||normal||||cpu=32|"
    play(cluster_config.parent, more="few||20|||||\\n", associations=free)
    few = (*with_gpus(4), "--qos=few")
    status, output = look(cluster_config, capsys, few, jobs=100, count=5, others={"merge_answers": (2000, CPU)})
    assert status == 0, output
    assert "QOS few (20 jobs), account physics, QOS normal; up to 100 jobs are submitted at once" in output
    status, output = look(cluster_config, capsys, few, jobs=100, count=30, others={"merge_answers": (2000, CPU)})
    assert status == 1
    assert re.search(r"jobs at once of QOS few +up to 30 are submitted at once, 20 are allowed\n", output)
    assert "-> write `jobs: 20` in the profile (it bounds the other jobs, too)" in output


@pytest.mark.parametrize("last", ["physics||normal|50||||", "physics||normal|||||"])
def test_of_several_associations_the_smallest_known_limit_is_kept(
    cluster_config: Path, capsys: pytest.CaptureFixture[str], last: str
) -> None:
    play(cluster_config.parent, associations=f"physics||normal|10||||\\n{last}")
    status, output = look(cluster_config, capsys, with_gpus(4), count=11)
    assert status == 1
    assert "up to 11 are submitted at once, 10 are allowed" in output


SMALL_QOS = "few||2||1:00:00|cpu=8||\\n"
WIDE_QOS = "wide||900||2-00:00:00|cpu=64||\\n"


@pytest.mark.parametrize(
    ("of_partition", "of_job", "qos", "refused"),
    [
        ("N/A", "wide", WIDE_QOS, []),  # the association allows 32 cores and 50 jobs, the QOS more
        ("wide", "few", WIDE_QOS + SMALL_QOS, []),
        ("few", "wide", WIDE_QOS + SMALL_QOS, ["QOS few"]),
        ("few", "wide", WIDE_QOS.replace("||900", "|OverPartQOS|900") + SMALL_QOS, []),
        ("N/A", "long", "", ["account physics"]),  # that QOS says nothing of cores and jobs
    ],
)
def test_each_limit_is_that_of_the_first_level_that_sets_it(
    cluster_config: Path,
    capsys: pytest.CaptureFixture[str],
    of_partition: str,
    of_job: str,
    qos: str,
    refused: list[str],
) -> None:
    play(cluster_config.parent, qos=of_partition, more=qos)
    words = (*with_gpus(4), "--cpus-per-task=40", f"--qos={of_job}")
    status, output = look(cluster_config, capsys, words, count=60)
    assert status == bool(refused), output
    assert sorted(set(re.findall(r"cpu, (.*?) for a job", output))) == refused
    assert re.findall(r"jobs at once of (\w+ \w+)", output) == refused


def test_memory_that_brings_further_cores_is_no_problem_where_a_node_has_them(
    cluster_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(cluster_config.parent, memory="MaxMemPerCPU=4000")
    status, output = look(cluster_config, capsys, with_gpus(4, mem="100000"))
    assert status == 0, output
    status, output = look(cluster_config, capsys, with_gpus(4, mem="260000"))
    assert status == 1
    assert "it asks for 260 GB a node, for which gpu gives a core for each 4 GB, and 64 cores a node at most" in output
    assert "write `sample_answers: {mem_mb: 256000}`" in output
    status, output = look(cluster_config, capsys, with_gpus(4, mem="200000"))
    assert "asks for 50 cpu, account physics for a job allows 32" in output, "the cores that it is given count"


def test_rules_whose_resources_read_their_input_are_not_checked_by_it(
    cluster_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(cluster_config.parent)
    output = look(cluster_config, capsys, with_gpus(4), reads_input=("sample_answers",))[1]
    assert "- what sample_answers asks for by its input, because the input is not read" in output


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
