"""Why an engine ended, from the end of its log: the reason and the remedy in a few words."""

from __future__ import annotations

import re

PORT_TAKEN = "its port is taken by another program: run again"

DIAGNOSES: tuple[tuple[str, str], ...] = (
    (r"(?i:address already in use)|EADDRINUSE", PORT_TAKEN),
    (
        r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks|can't allocate memory"
        r"|Cannot allocate memory|MemoryError|less than desired (?:GPU|CPU) memory|less than requested memory for kv"
        r"|larger than the available KV cache memory|bad_alloc",
        "it ran out of memory: give it more GPUs (tensor parallel) or memory, or a smaller max_model_len",
    ),
    (
        r"[Cc]annot find any model weights|No such file or directory: '[^']*\.safetensors|not a local folder"
        r"|Error while deserializing header|SafetensorError|incomplete metadata",
        "its weights are missing or cut short: delete its model.json and weights and fetch the model again",
    ),
    (
        r"are not supported for now|does not recognize this architecture|has no vLLM implementation"
        r"|Model architectures \[[^\]]*\] (?:are not supported|failed to be inspected)",
        "this version of vLLM does not know its architecture: choose another model",
    ),
    (r"greater than the derived max_model_len", "its max_model_len is more than it was made for: lower it"),
    (
        r"must be divisible by tensor parallel|divisible by tensor_parallel|is not divisible by the number of GPUs",
        "its attention heads cannot be shared by so many GPUs: choose another tensor parallel size",
    ),
    (
        r"Failed to infer device type|No CUDA GPUs are available|found no NVIDIA driver|NVML Shared Library Not Found",
        "there is no GPU on this machine: set accelerator to cpu, or ask the scheduler for a GPU",
    ),
    (r"unrecognized arguments: (?P<what>.+)", "vLLM does not know the argument {what}: correct the engine arguments"),
)
"""What an engine's log says when it fails, and the reason and remedy in a few words; the first that fits counts."""


def diagnose(text: str, status: int) -> str:
    """Why an engine ended with ``status``, by the end of its log."""
    for pattern, reason in DIAGNOSES:
        found = re.search(pattern, text)
        if found:
            return reason.format(**{key: value.strip() for key, value in found.groupdict().items()})
    if status == 137:
        return "it was killed, most likely for memory: give the job more memory"
    if status > 128:
        return f"it was ended by signal {status - 128}"
    errors = re.findall(
        r"^(?:\([^)]*\)\s*)?(?:ERROR .*?\]\s*)?((?:\w+\.)*\w*(?:Error|Exception): .+)$", text, re.MULTILINE
    )
    return f"{errors[-1].strip()[:300]} (its log is above)" if errors else f"exit status {status} (its log is above)"
