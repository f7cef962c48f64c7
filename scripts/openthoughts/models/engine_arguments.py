"""Which arguments of ``vllm serve`` change answers: these belong to who a model is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

FREE = frozenset(
    {
        *("api-server-count", "async-scheduling", "attention-backend", "block-size", "compilation-config"),
        *("cpu-offload-gb", "cudagraph-capture-sizes", "data-parallel-backend", "data-parallel-size"),
        *("disable-custom-all-reduce", "disable-log-requests", "disable-log-stats"),
        *("distributed-executor-backend", "download-dir", "enable-chunked-prefill", "enable-expert-parallel"),
        *("enable-log-requests", "enable-prefix-caching", "enforce-eager", "gpu-memory-utilization"),
        *("kv-cache-memory-bytes", "log-config-file", "long-prefill-token-threshold", "max-log-len"),
        *("max-long-partial-prefills", "max-num-batched-tokens", "max-num-partial-prefills", "max-num-seqs"),
        *("max-parallel-loading-workers", "num-gpu-blocks-override", "num-scheduler-steps"),
        *("optimization-level", "pipeline-parallel-size", "prefix-caching-hash-algo", "renderer-num-workers"),
        *("safetensors-load-strategy", "scheduling-policy", "stream-interval", "swap-space"),
        *("tensor-parallel-size", "use-tqdm-on-load", "uvicorn-log-level"),
    }
)
"""Those that say how fast an engine runs, in how much memory, and what it logs. Answers may differ by rounding, as they
do with the company that a request has in its batch."""

SHORT = {"tp": "tensor-parallel-size", "pp": "pipeline-parallel-size", "dp": "data-parallel-size"}
SHORT |= {f"O{level}": "optimization-level" for level in ("", 0, 1, 2, 3)}
"""Short names."""


def changing(arguments: str) -> str:
    """The arguments that may change answers, sorted, each as ``--name`` or ``--name=value``; empty where none does.

    What is not known to be free is taken to change them.
    """
    return " ".join(sorted(shlex.join([each]) for name, each in _named(shlex.split(arguments)) if not is_free(name)))


def arguments(text: str) -> dict[str, str]:
    """Name -> value of every argument, the value empty where it has none."""
    named = (each.removeprefix("--").partition("=") for _, each in _named(shlex.split(text)))
    return {name.replace("_", "-"): value for name, _, value in named}


def is_free(name: str) -> bool:
    """Whether an argument, without its dashes, changes no answer; ``no-`` in front of it turns one off."""
    plain = SHORT.get(name, name).replace("_", "-").partition(".")[0]
    return plain in FREE or plain.removeprefix("no-") in FREE


def _named(words: list[str]) -> Iterator[tuple[str, str]]:
    """Name and ``--name=value`` of each argument; words that no name stands before are names of their own."""
    name, values = "", list[str]()
    for word in [*words, "--"]:
        is_name = word.startswith("-") and not word[1:2].isdigit()
        if not is_name:
            values.append(word)
            continue
        if name or values:
            yield name, f"--{name}" + (f"={' '.join(values)}" if values else "")
        name, given, value = word.lstrip("-").partition("=")
        values = [value] if given else []
