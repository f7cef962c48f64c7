"""The engines' environments: built, with a CUDA build of torch where they are for GPUs, and the driver for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from openthoughts.base.cli import UserError
from openthoughts.base.environments import (
    Environment,
    Torch,
    cuda_of_pins,
    environments_folder,
    find,
    has_module,
    torch_of,
    wants_cuda,
)
from openthoughts.costs.preflight.checks import Check, output_of, skipped
from openthoughts.costs.preflight.cluster import Cluster
from openthoughts.plan.register import KINDS, asked
from openthoughts.plan.stages import Plan

DRIVERS = {"12": "525.60.13", "13": "580"}
"""CUDA's major version -> the oldest driver that runs programs built with any of its minor versions (NVIDIA's table,
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)."""

DRIVER_QUESTION = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def needed_engines(plan: Plan, accelerator: str) -> list[str]:
    """The environments that a plan's jobs run in."""
    suffix = "" if accelerator == "cuda" else f"-{accelerator}"
    stages = plan.index.values()
    engines = ["vllm"] if any(model.settings["entry"].get("kind") != "api" for model in asked(stages)) else []
    engines += ["llamafactory"] if any(KINDS[stage.kind].trained_by for stage in stages) else []
    return [f"{engine}{suffix}" for engine in engines]


def environment_checks(plan: Plan, accelerator: str, cluster: Cluster | None = None) -> Iterator[Check]:
    """Whether the engines that the plan needs are installed, for its accelerator, and what driver they need."""
    versions: dict[str, str] = {}
    names = needed_engines(plan, accelerator)
    for name in names:
        try:
            place = find(name)
        except UserError as error:
            sentence, _, remedy = str(error).partition(": ")
            yield Check(f"environment {name}", sentence, remedy or "build it, or correct its variable")
            if accelerator == "cuda" and (cuda := cuda_of_pins(name)):
                versions[name] = cuda
            continue
        yield Check(f"environment {name}", str(place.bin or " ".join(place.prefix)))
        if accelerator != "cuda" or not wants_cuda(name):
            continue
        torch = torch_of(place)
        yield torch_check(place, torch)
        if torch and torch.cuda:
            versions[name] = torch.cuda
        if name == "llamafactory":
            yield attention_check(place)
    if accelerator == "cuda" and names:
        yield driver_check(versions, cluster)


def torch_check(place: Environment, torch: Torch | None) -> Check:
    """Whether an environment for GPUs has a build of torch that can use them."""
    subject = f"torch of {place.name}"
    if torch is None:
        return skipped(subject, "its python does not say which torch it has")
    if torch.cuda is None:
        built_here = place.bin is not None and place.bin.is_relative_to(environments_folder())
        remedy = (
            f"run .venv/bin/python scripts/environments.py {place.name}, which builds it again or says why not"
            if built_here
            else "bring an environment whose torch has CUDA"
        )
        return Check(subject, f"{torch.version} is built without CUDA", remedy)
    return Check(subject, f"{torch.version}, CUDA {torch.cuda}")


def attention_check(place: Environment) -> Check:
    """Whether FlashAttention-2 is there, which trainings ask for (``flash_attn: fa2``), and what it costs if not."""
    there = has_module(place, "flash_attn")
    if there is None:
        return skipped("flash-attn", "the environment's python does not say whether it is there")
    if there:
        return Check("flash-attn", "in the environment llamafactory")
    return Check(
        "flash-attn",
        "not in the environment llamafactory: trainings use PyTorch's own attention, slower and with more memory"
        " (docs/engines.md)",
        is_warning=True,
    )


def newest(versions: Sequence[str]) -> str:
    """The highest of some versions."""
    return max(versions, key=numbers)


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that can be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def driver_check(versions: dict[str, str], cluster: Cluster | None) -> Check:
    """Whether this machine's driver runs the CUDA of the environments (name -> version)."""
    subject = "NVIDIA driver"
    if not versions:
        return skipped(subject, "the CUDA of the environments is not known")
    cuda = newest(list(versions.values()))
    least = DRIVERS.get(cuda.partition(".")[0])
    if least is None:
        return skipped(subject, f"which driver CUDA {cuda} needs is not known here")
    needed = f"CUDA {cuda} of {', '.join(sorted(versions))} needs {least} or newer"
    found = [line.strip() for line in (output_of(*DRIVER_QUESTION) or "").splitlines() if line.strip()]
    if not found or not numbers(found[0]):
        return skipped(subject, f"nvidia-smi does not answer here; {needed}", f"run {on_a_gpu(cluster)}")
    oldest = min(found, key=numbers)
    if numbers(oldest) < numbers(least):
        return Check(
            subject,
            f"{oldest}; {needed}",
            "ask for a newer driver, or name an environment of an older CUDA (docs/engines.md)",
        )
    return Check(subject, f"{oldest}; {needed}")


def on_a_gpu(cluster: Cluster | None) -> str:
    """The command that asks a node with GPUs for its driver."""
    question = " ".join(DRIVER_QUESTION)
    if cluster is None or not cluster.gpu_partition:
        return f"`{question}` where the GPUs are"
    gpus = ":".join(filter(None, ["gpu", cluster.gpu_type, "1"]))
    return f"`srun --partition={cluster.gpu_partition} --gres={gpus} {question}`"
