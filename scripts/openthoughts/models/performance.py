"""How fast a GPU serves and trains a model, from the model's architecture and the GPU's data sheet.

A roofline: a step of decoding reads every weight that it uses and the KV cache of every answer in flight once, and
multiplies each of its tokens with the active weights; it takes as long as the slower of the two, and a fixed time. The
prompts take time on top. The efficiencies below are fitted to what public benchmarks reach of the data sheets;
``benchmarks/performance`` sets this model beside them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Self

from openthoughts.base.options import Options, execution_only
from openthoughts.models.architecture import (
    BYTES_OF_DTYPE,
    BYTES_OF_QUANTIZATION,
    Architecture,
)

MEMORY_USED = 0.9
"""Share of a GPU's memory that the engine takes (vLLM's default)."""

WORKSPACE_GIB = 3.0
"""GiB of it that are neither weights nor KV cache: activations, CUDA graphs, buffers."""

BANDWIDTH_REACHED = 0.8
"""Share of the memory bandwidth that decoding reaches."""

COMPUTE_REACHED = 0.55
"""Share of the dense peak that prompts and large batches reach."""

STEP_SECONDS = 0.004
"""Time of a step of decoding that is neither reading nor multiplying: scheduling, sampling, launches."""

ANSWER_STEP_SECONDS = 20e-6
"""Time of a step per answer in flight, on the processor."""

REDUCE_SECONDS = 15e-6
"""Time to start one exchange between the GPUs that share the weights; each layer makes two."""

LINK_REACHED = 0.17
"""Share of the bandwidth between GPUs that these exchanges reach."""

TRAINING_REACHED = 0.38
"""Share of the dense peak that a training of rows of thousands of tokens reaches (its MFU)."""

EXPERTS_REACHED = 0.4
"""Share of that which a training of a mixture of experts reaches."""

TENSOR_PARALLEL = (1, 2, 4, 8, 16, 32)


class Gpu(Options):
    """A GPU as its maker's data sheet describes it; dense operations, without sparsity."""

    memory_gib: float = execution_only(gt=0, description="Memory in GiB.")
    bandwidth_tb_s: float = execution_only(gt=0, description="Memory bandwidth in TB per second.")
    bf16_tflops: float = execution_only(gt=0, description="Dense bfloat16 operations in TFLOP per second.")
    fp8_tflops: float | None = execution_only(
        None, gt=0, description="Dense FP8 operations in TFLOP per second; null where it has none."
    )
    link_gb_s: float = execution_only(
        gt=0, description="Bandwidth to the other GPUs of a node, both directions together, in GB per second."
    )
    source: str = execution_only(description="Where these figures stand.")


@dataclass(frozen=True)
class Served:
    """A model as an engine serves it."""

    architecture: Architecture
    gpu: Gpu
    tensor_parallel: int = 1
    dtype: str = "bfloat16"
    quantization: str | None = None
    parameters: float | None = None
    """Parameters as its card says; counted from the architecture where it does not."""
    kv_cache_dtype: str = "auto"
    """Type of the numbers in the KV cache (vLLM's ``--kv-cache-dtype``)."""

    def shared_by(self, gpus: int) -> Self:
        """The same model, its weights shared by so many GPUs."""
        return dataclasses.replace(self, tensor_parallel=gpus)

    @property
    def bytes_per_weight(self) -> float:
        """Bytes of one weight in memory."""
        if self.quantization:
            return BYTES_OF_QUANTIZATION.get(self.quantization, 1.0)
        return BYTES_OF_DTYPE[self.dtype]

    @property
    def kv_bytes(self) -> float:
        """Bytes of one number of the KV cache; those of the dtype, whatever the quantisation, unless it says fp8."""
        return 1.0 if self.kv_cache_dtype.startswith("fp8") else BYTES_OF_DTYPE[self.dtype]

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""
        return self.bytes_per_weight * (self.parameters or self.architecture.parameters())

    @property
    def cache_bytes(self) -> float:
        """Bytes that all GPUs of the engine have left for the KV cache; negative where the weights do not fit."""
        usable = MEMORY_USED * self.gpu.memory_gib - WORKSPACE_GIB
        return self.tensor_parallel * usable * 2**30 - self.weight_bytes

    @property
    def fits(self) -> bool:
        """Whether the GPUs hold the weights and share the heads of attention evenly, as an engine needs it."""
        return self.cache_bytes > 0 and self.architecture.num_attention_heads % self.tensor_parallel == 0

    def in_flight(self, input_tokens: float, output_tokens: float, most: float = math.inf) -> float:
        """Answers that fit in the KV cache at once, on average; at most ``most``, at least one."""
        held = self.architecture.kv_elements(input_tokens + output_tokens / 2) * self.kv_bytes
        return max(1.0, min(most, self.cache_bytes / held if held else most))

    def step_seconds(self, answers: float, context: float) -> float:
        """Seconds of a step of decoding, which gives each of ``answers`` of ``context`` tokens one more."""
        read = self.architecture.touched_parameters(answers) * self.bytes_per_weight
        read += answers * self.architecture.kv_elements(context) * self.kv_bytes
        reading = read / (self.tensor_parallel * self.gpu.bandwidth_tb_s * 1e12 * BANDWIDTH_REACHED)
        exchanges = 2 * self.architecture.num_hidden_layers * REDUCE_SECONDS if self.tensor_parallel > 1 else 0.0
        moving = exchanges + answers * self.exchange_seconds
        return max(reading, answers * self.token_seconds()) + moving + STEP_SECONDS + answers * ANSWER_STEP_SECONDS

    @property
    def exchange_seconds(self) -> float:
        """Seconds in which the GPUs exchange what they made of one token: two sums per layer, in 16 bits."""
        if self.tensor_parallel == 1:
            return 0.0
        numbers = 2 * self.architecture.num_hidden_layers * self.architecture.hidden_size
        moved = 2 * numbers * 2 * (self.tensor_parallel - 1) / self.tensor_parallel
        return moved / (self.gpu.link_gb_s * 1e9 * LINK_REACHED)

    def token_seconds(self, length: float = 0.0) -> float:
        """Seconds of the multiplications of one token of a text of ``length`` tokens, with all GPUs."""
        peak = self.gpu.bf16_tflops
        if self.bytes_per_weight == 1.0 and self.gpu.fp8_tflops:
            peak = self.gpu.fp8_tflops
        attention = self.architecture.num_hidden_layers * self.architecture.attention_width * length
        work = 2 * (self.architecture.parameters(active=True) + attention)
        return work / (self.tensor_parallel * peak * 1e12 * COMPUTE_REACHED)

    def tokens_per_second(self, input_tokens: float, output_tokens: float, concurrency: float = math.inf) -> float:
        """Output tokens per second of one engine that always has enough requests.

        ``input_tokens`` and ``output_tokens`` are of one request, ``concurrency`` the most in flight.
        """
        answers = self.in_flight(input_tokens, output_tokens, concurrency)
        decoding = output_tokens * self.step_seconds(answers, input_tokens + output_tokens / 2)
        prompts = answers * input_tokens * (self.token_seconds(input_tokens) + self.exchange_seconds)
        return answers * output_tokens / (decoding + prompts)


def smallest_tensor_parallel(model: Served) -> int:
    """The fewest GPUs that hold the weights and a KV cache of a third of their size; the most where no number does.

    Engines share heads of attention evenly, so the number divides them.
    """
    possible = [size for size in TENSOR_PARALLEL if model.architecture.num_attention_heads % size == 0]
    for size in possible:
        each = model.shared_by(size)
        if each.cache_bytes > each.weight_bytes / 3:
            return size
    return possible[-1]


def multiplying_seconds(parameters: float, gpu: Gpu) -> float:
    """GPU-seconds per token of one pass forward through a model of so many parameters, as trainings reach them."""
    return 2 * parameters / (gpu.bf16_tflops * 1e12 * TRAINING_REACHED)


def training_seconds(architecture: Architecture, gpu: Gpu, length: float) -> float:
    """GPU-seconds per token of a training in bfloat16, in sequences of ``length`` tokens.

    6 operations per active parameter and token (Kaplan et al., arXiv 2001.08361), and 6 x layers x width x length for
    causal attention (12 without the mask: Korthikanti et al., arXiv 2205.05198); backward is twice forward.
    """
    attention = architecture.num_hidden_layers * architecture.attention_width * length
    reached = EXPERTS_REACHED if architecture.num_experts else 1.0
    return 3 * multiplying_seconds(architecture.parameters(active=True) + attention, gpu) / reached
