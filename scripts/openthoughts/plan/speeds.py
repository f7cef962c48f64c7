"""How fast the model of a catalog entry is served and trained, and how many GPUs its engine takes.

Where the entry says what was measured, that counts; else the speed follows from the architecture and the GPU
(``openthoughts.models.performance``); where one of these is not known, neither is the speed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from openthoughts.models.architecture import Architecture
from openthoughts.models.engine_arguments import arguments
from openthoughts.models.model import API
from openthoughts.models.performance import Gpu, Served, multiplying_seconds, smallest_tensor_parallel, training_seconds
from openthoughts.plan.expectations import QUESTION_TOKENS

CONCURRENCY = 64
"""Requests in flight to a model whose entry does not say how many."""

Entry = Mapping[str, Any]
"""An entry of the catalog's models, with the ``gpu`` that it is planned on where one is named."""


def engine_seconds(entry: Entry, input_tokens: float, output_tokens: float) -> float | None:
    """Seconds of the server of an entry per request, as long as it has enough of them; None where not known.

    A request without output is an embedding: its tokens are multiplied, none is decoded.
    """
    serving = entry.get("serving", {})
    if output_tokens and (measured := serving.get("tokens_per_second")):
        return float(output_tokens / measured)
    model = served(entry)
    if model is not None and not model.fits:
        return None
    replicas = serving.get("data_parallel") or 1
    if model is not None and output_tokens:
        most = (serving.get("concurrency") or CONCURRENCY) / replicas
        return output_tokens / model.tokens_per_second(input_tokens, output_tokens, most) / replicas
    if model is not None:
        return input_tokens * model.token_seconds(input_tokens) / replicas
    if output_tokens or entry.get("gpu") is None or entry.get("parameters") is None:
        return None
    return input_tokens * multiplying_seconds(entry["parameters"], gpu_of(entry)) / engine_gpus(entry)


def answer_seconds(entry: Entry) -> float | None:
    """Seconds of the server of an entry per answer of the usual length; None where length or speed is not known."""
    length = entry.get("serving", {}).get("tokens_per_answer")
    return None if length is None else engine_seconds(entry, QUESTION_TOKENS, length)


def student_seconds(entry: Entry, length: float) -> float | None:
    """GPU-seconds per token of a training of the model of an entry, in sequences of ``length`` tokens.

    None where no GPU is named, or neither architecture nor parameters are known.
    """
    if entry.get("gpu") is None:
        return None
    if entry.get("architecture") is not None:
        return training_seconds(architecture_of(entry), gpu_of(entry), length)
    return None if entry.get("parameters") is None else 3 * multiplying_seconds(entry["parameters"], gpu_of(entry))


def served(entry: Entry) -> Served | None:
    """The model of an entry on its GPUs; None where it is hosted, or architecture or GPU is not known."""
    if entry["kind"] == API or entry.get("architecture") is None or entry.get("gpu") is None:
        return None
    parameters = entry.get("parameters")
    given = arguments(entry.get("serving", {}).get("engine_args") or "")
    model = Served(
        architecture_of(entry),
        gpu_of(entry),
        dtype=entry.get("dtype") or "bfloat16",
        quantization=entry.get("quantization") or given.get("quantization"),
        kv_cache_dtype=given.get("kv-cache-dtype", "auto"),
        parameters=None if parameters is None else float(parameters),
    )
    return model.shared_by(entry.get("serving", {}).get("tensor_parallel") or smallest_tensor_parallel(model))


def engine_gpus(entry: Entry) -> int:
    """GPUs of the engine that serves the model of an entry; none for a hosted one."""
    replicas: int = entry.get("serving", {}).get("data_parallel") or 1
    return 0 if entry["kind"] == API else tensor_parallel(entry) * replicas


def tensor_parallel(entry: Entry) -> int:
    """GPUs that share the weights: as given, else the fewest that hold them, one where that is not known."""
    given: int | None = entry.get("serving", {}).get("tensor_parallel")
    model = None if given else served(entry)
    return given or (model.tensor_parallel if model else 1)


def missing_of_speed(name: str, entry: Entry) -> str:
    """What is missing to know the speed of the model of an entry, as a phrase."""
    if entry.get("gpu") is None:
        return "GPU"
    model = served(entry)
    return f"architecture of {name}" if model is None else f"speed of {name}, whose weights do not fit,"


def architecture_of(entry: Entry) -> Architecture:
    """The architecture that an entry gives."""
    return _architecture(json.dumps(entry["architecture"], sort_keys=True))


def gpu_of(entry: Entry) -> Gpu:
    """The GPU that an entry is planned on."""
    return _gpu(json.dumps(entry["gpu"], sort_keys=True))


@functools.lru_cache(maxsize=256)
def _architecture(text: str) -> Architecture:
    return Architecture.model_validate(json.loads(text))


@functools.lru_cache(maxsize=64)
def _gpu(text: str) -> Gpu:
    return Gpu.model_validate(json.loads(text))
