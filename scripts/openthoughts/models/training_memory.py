"""Memory of a GPU in a full training with DeepSpeed ZeRO-3 and gradient checkpointing, part by part.

What a model keeps follows DeepSpeed's own estimate (``estimate_zero3_model_states_mem_needs``: 18 bytes per parameter
over all GPUs, 4 per parameter of the largest layer on each); activations follow Korthikanti et al. (arXiv 2205.05198)
for a decoder with a gated MLP, whose attention and loss never keep a whole matrix of scores or logits (flash-attn,
Liger).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from openthoughts.models.architecture import Architecture

WEIGHT, GRADIENT, OPTIMIZER = 2, 4, 12
"""Bytes per parameter: bfloat16 weights; gradients in 32 bits; a 32-bit copy of the weights and Adam's two moments."""

LARGEST_LAYER = 4
"""Bytes per parameter of the largest layer, which each GPU gathers whole, with its gradient."""

MOST_GATHERED = 1e9
"""Parameters that a GPU keeps gathered at most (``stage3_max_live_parameters``), in bfloat16."""

CONTEXT_GIB = 2.0
"""GiB that CUDA, NCCL and the allocator's leftovers take."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one GPU by part."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    """Whole layers that are being computed, and the largest one's gradient."""
    activations: float
    """The input of each layer, one layer that is computed again, and a piece of the logits."""
    context: float = CONTEXT_GIB * 2**30

    def total(self) -> float:
        """Bytes of all parts."""
        return float(sum(getattr(self, each.name) for each in fields(self)))

    def in_words(self) -> str:
        """The parts in GiB."""
        return ", ".join(f"{each.name} {getattr(self, each.name) / 2**30:,.1f}" for each in fields(self))


def training_memory(architecture: Architecture, gpus: int, length: int) -> TrainingMemory:
    """Memory of each of ``gpus`` that train a model on rows of ``length`` tokens, one row per GPU at a time."""
    parameters = architecture.parameters()
    hidden, layers = architecture.hidden_size, architecture.num_hidden_layers
    keys = 2 * (architecture.num_key_value_heads or architecture.num_attention_heads) * architecture.head_size
    inner = architecture.moe_intermediate_size or architecture.intermediate_size or 4 * hidden
    width = inner * (architecture.num_experts_per_tok or 1)
    embeddings = architecture.vocab_size * hidden
    layer = (parameters - (1 if architecture.tie_word_embeddings else 2) * embeddings) / layers
    one_layer = 2 * (4 * hidden + 2 * architecture.attention_width + 2 * keys + 4 * width)
    logits = (
        6 * hidden
    )  # Liger makes pieces of as many logits as there are numbers in the last layer, in 16 and 32 bits
    return TrainingMemory(
        weights=WEIGHT * parameters / gpus,
        gradients=GRADIENT * parameters / gpus,
        optimizer=OPTIMIZER * parameters / gpus,
        gathered=2 * min(MOST_GATHERED, parameters) + LARGEST_LAYER * max(embeddings, layer),
        activations=length * (2 * hidden * layers + one_layer + logits),
    )
