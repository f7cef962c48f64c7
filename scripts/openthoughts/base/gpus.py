"""The GPUs of this machine, by the names that their driver tells."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess


@functools.cache
def gpu_name() -> str:
    """The name of the GPUs of this machine, such as ``NVIDIA H100 80GB HBM3``; empty where nothing tells one name."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    names = {line.strip() for line in told.splitlines()} - {""}
    return names.pop() if len(names) == 1 else ""


FORMS = frozenset({"pcie", "nvl"})
"""Words of a driver's name that tell a slower or larger form of a GPU from its usual one."""


def is_gpu(entry: str, told: str) -> bool:
    """Whether the name that a driver tells is that of a GPU of the catalog, such as ``h100`` or ``a100-80-pcie``."""
    words = [word.removesuffix("gb") for word in re.findall("[a-z0-9]+", told.lower())]
    parts = re.findall("[a-z0-9]+", entry.lower())
    return bool(parts) and set(parts) <= set(words) and not (FORMS & set(words)) - set(parts)
