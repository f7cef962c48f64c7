"""What the ``config.json`` of a model says about its cost: parameters, bytes of weights, bytes of the KV cache.

The names are those of Hugging Face's ``config.json``, so that a catalog entry may hold a part of that file as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict

from openthoughts.base.options import Options, execution_only

Count = int | None

BYTES_OF_DTYPE = {"bfloat16": 2.0, "float16": 2.0, "float32": 4.0}

BYTES_OF_QUANTIZATION = {
    "fp8": 1.0,
    "compressed-tensors": 1.0,
    "modelopt": 1.0,
    "bitsandbytes": 0.6,
    "awq": 0.6,
    "awq_marlin": 0.6,
    "gptq": 0.6,
    "gptq_marlin": 0.6,
    "mxfp4": 0.55,
}
"""Bytes of a weight by the name of the quantisation (vLLM's); four bits with scales, and layers that stay whole."""


class Architecture(Options):
    """The keys of a ``config.json`` that say what a token costs; others are ignored."""

    model_config = ConfigDict(extra="ignore")

    num_hidden_layers: int = execution_only(gt=0, description="Layers.")
    hidden_size: int = execution_only(gt=0, description="Width of the residual stream.")
    num_attention_heads: int = execution_only(gt=0, description="Heads of attention.")
    vocab_size: int = execution_only(gt=0, description="Tokens of the vocabulary.")
    intermediate_size: Count = execution_only(None, description="Width of a dense layer's MLP.")
    num_key_value_heads: Count = execution_only(None, description="Heads whose keys and values are kept.")
    head_dim: Count = execution_only(None, description="Width of a head.")
    tie_word_embeddings: bool = execution_only(False, description="Whether input and output share their embeddings.")
    layer_types: tuple[str, ...] | None = execution_only(
        None, description="Kind of attention by layer: full_attention, sliding_attention or linear_attention."
    )
    sliding_window: Count = execution_only(None, description="Tokens that a layer with sliding attention sees.")
    num_experts: Count = execution_only(None, description="Experts of a layer (also n_routed_experts).")
    num_experts_per_tok: Count = execution_only(None, description="Experts that a token takes.")
    moe_intermediate_size: Count = execution_only(None, description="Width of an expert.")
    n_shared_experts: Count = execution_only(None, description="Experts that every token takes.")
    first_k_dense_replace: int = execution_only(0, description="Dense layers before those with experts.")
    kv_lora_rank: Count = execution_only(None, description="Width of the compressed KV cache (MLA).")
    q_lora_rank: Count = execution_only(None, description="Width of the compressed queries (MLA).")
    qk_nope_head_dim: int = execution_only(0, description="Width of a head without rotation (MLA).")
    qk_rope_head_dim: int = execution_only(0, description="Width of a head with rotation (MLA).")
    v_head_dim: int = execution_only(0, description="Width of a head's values (MLA).")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The architecture of a whole ``config.json``. Raises ``ValidationError`` where it is not a decoder's."""
        text = {**config, **(config.get("text_config") or {})}
        for name in ("n_routed_experts", "num_local_experts"):
            if text.get(name) is not None:
                text.setdefault("num_experts", text[name])
        if "num_local_experts" in text and text.get("moe_intermediate_size") is None:
            text["moe_intermediate_size"] = text.get("intermediate_size")
        known = {key: value for key, value in text.items() if key in cls.model_fields and value is not None}
        return cls.model_validate(known)

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def attention_width(self) -> int:
        """Numbers of a token's queries, over all heads of a layer."""
        return self.num_attention_heads * self.head_size

    def attention_parameters(self) -> int:
        """Parameters of one layer's attention, of grouped queries or of compressed ones (DeepSeek's MLA)."""
        heads, hidden = self.num_attention_heads, self.hidden_size
        if self.kv_lora_rank:
            query = heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
            asked = hidden * self.q_lora_rank + self.q_lora_rank * query if self.q_lora_rank else hidden * query
            kept = hidden * (self.kv_lora_rank + self.qk_rope_head_dim)
            read = self.kv_lora_rank * heads * (self.qk_nope_head_dim + self.v_head_dim)
            return asked + kept + read + heads * self.v_head_dim * hidden
        return self.head_size * hidden * 2 * (heads + (self.num_key_value_heads or heads))

    def parameters(self, active: bool = False) -> int:
        """Parameters of the model; with ``active`` only those that one token is multiplied by.

        The input embeddings are looked up, not multiplied, so they are not active; norms and biases are left out.
        """
        sparse = self.num_hidden_layers - self.first_k_dense_replace if self.num_experts else 0
        dense = self.num_hidden_layers - sparse
        total = self.num_hidden_layers * self.attention_parameters() + dense * self.mlp_parameters()
        total += sparse * self.experts_parameters(self.num_experts_per_tok or 1 if active else self.num_experts or 0)
        embeddings = self.vocab_size * self.hidden_size
        return total + (embeddings if active or self.tie_word_embeddings else 2 * embeddings)

    def mlp_parameters(self) -> int:
        """Parameters of one dense MLP with a gate."""
        return 3 * self.hidden_size * (self.intermediate_size or 4 * self.hidden_size)

    def experts_parameters(self, experts: float) -> int:
        """Parameters of so many routed experts of one layer, with the shared ones."""
        width = self.moe_intermediate_size or self.intermediate_size or 4 * self.hidden_size
        return round(3 * self.hidden_size * width * (experts + (self.n_shared_experts or 0)))

    def touched_parameters(self, tokens: float) -> float:
        """Parameters that a step with so many tokens reads: of the experts, those that at least one token takes."""
        if not self.num_experts or not self.num_experts_per_tok:
            return self.parameters(active=True)
        sparse = self.num_hidden_layers - self.first_k_dense_replace
        share = 1 - (1 - self.num_experts_per_tok / self.num_experts) ** tokens
        without = self.parameters(active=True) - sparse * self.experts_parameters(self.num_experts_per_tok)
        return without + sparse * self.experts_parameters(share * self.num_experts)

    def kv_elements(self, context: float) -> float:
        """Numbers in the KV cache of one sequence of ``context`` tokens."""
        if self.kv_lora_rank:
            return context * self.num_hidden_layers * (self.kv_lora_rank + self.qk_rope_head_dim)
        width = 2 * (self.num_key_value_heads or self.num_attention_heads) * self.head_size
        seen = {
            "linear_attention": 0.0,
            "sliding_attention": min(context, self.sliding_window or context),
        }
        kinds = self.layer_types or ("full_attention",) * self.num_hidden_layers
        return width * sum(seen.get(kind, context) for kind in kinds)
