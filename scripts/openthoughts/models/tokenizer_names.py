"""Which names of tokenizers there are: known to the plan, which imports no tokenizer."""

from __future__ import annotations

QWEN = "qwen"
"""Short name of the vocabulary of Qwen2, Qwen2.5, QwQ and Qwen3 (the published recipe's ``Qwen/Qwen2-7B-Instruct``)."""


def is_tokenizer(name: str) -> bool:
    """Whether ``name`` is ``qwen``, a Qwen repository (``Qwen/Qwen2-7B-Instruct``), or the path of a ``model.json``."""
    return name == QWEN or name.startswith("Qwen/") or name.endswith(".json")
