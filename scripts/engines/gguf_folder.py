"""Write a GGUF model file as a Hugging Face model folder: ``gguf_folder.py FILE.gguf FOLDER DTYPE``.

Runs as a program in an engine's environment (it needs torch, transformers and gguf, and nothing of this project). The
weights are dequantised; tokenizer, chat template and special tokens come from the file.
"""

from __future__ import annotations

import sys
from pathlib import Path


def convert(gguf: Path, folder: Path, dtype: str) -> None:
    """Write the model, tokenizer, chat template and generation configuration of ``gguf`` to ``folder``."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        GgufConfig,
    )

    torch_dtype = getattr(torch, dtype)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.save_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch_dtype
    )
    # transformers does not save a model that was read from GGUF: move the weights to a plain one of its class.
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(read)(config).to(torch_dtype)
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
    model.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
