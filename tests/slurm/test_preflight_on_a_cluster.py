"""``snakemake preflight`` on the cluster: a profile that fits passes, and what would wait for ever is told."""

from __future__ import annotations

import re

from tests.fake_openai import FakeServer
from tests.gpu_environment import make_environment
from tests.slurm.conftest import Site, tiny_recipe


def row(output: str, subject: str) -> str:
    """The line of the table about a subject, with its remedy."""
    found = re.search(rf"^\w+ +{re.escape(subject)} .*(?:\n +-> .*)?", output, re.MULTILINE)
    assert found, output
    return found[0]


def test_a_profile_that_fits_passes_and_one_that_does_not_is_told_with_what_to_write(
    site: Site, server: FakeServer
) -> None:
    tiny_recipe(site, server, questions=4, shards=2, gpus=4)
    programs = make_environment(site.folder / "gpu-vllm", "2.13.0+cu130", "13.0")
    site.variables["OPENTHOUGHTS_ENVIRONMENT_VLLM"] = str(programs)

    good = site.snakemake(*site.arguments("--", "preflight_offline"))
    assert "problem" not in good, good
    assert row(good, "jobs of sample_answers").startswith("ok")
    assert "accelerated: 4 a100, 13 cores, 192 GB, 12 h; attempt 3: 4 a100, 13 cores, 384 GB, 36 h" in good
    assert row(good, "limits of account and QOS").endswith("the cluster does not enforce any")
    assert "\n- requests to hosted models" not in good, "the plan asks none"
    assert re.search(
        r"^- NVIDIA driver, because .*`srun --partition=accelerated --gres=gpu:a100:1 ", good, re.MULTILINE
    )

    long = ("--set-resources", "decontaminate:runtime=3000", "merge_answers:mem_mb=600000")
    teacher = site.folder / "own" / "models.yaml"
    teacher.write_text(teacher.read_text().replace("tensor_parallel: 4", "tensor_parallel: 16"))
    bad = site.snakemake(*site.arguments(*long, "--", "preflight_offline"), fails=True)
    time, memory, gpus = (row(bad, f"jobs of {rule}") for rule in ("decontaminate", "merge_answers", "sample_answers"))
    assert "it asks for 50 h, normal allows 48 h" in time
    assert "-> write `decontaminate: {runtime: 2880}` in `set-resources:` of the profile" in time
    assert "it asks for 600 GB a node, nodes of normal have 512 GB at most" in memory
    assert "sbatch refuses attempt 1 and 3 (Requested node configuration is not available)" in memory
    assert "it asks for 16 a100 a node, nodes of accelerated have 8 at most" in gpus
    assert "lower `serving: {tensor_parallel, data_parallel}`" in gpus
    assert not site.records(), "nothing was booked"
