"""A tiny random Llama with a byte-level tokenizer: trains and is tokenised by the real engine within seconds."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from openthoughts.models.model import Model, describe

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" + SYSTEM + "<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS = 32, 64, 2, 4, 2


def make_tiny_model(folder: Path) -> Model:
    """Write the model and its ``model.json`` into ``folder`` and return its description."""
    weights = folder / "weights"
    weights.mkdir(parents=True)
    vocabulary = len(SPECIAL) + 256
    write_tokenizer(weights)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "dtype": "bfloat16",
    }
    (weights / "config.json").write_text(json.dumps(config))
    (weights / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 0}))
    write_safetensors(weights / "model.safetensors", shapes(vocabulary))
    model = describe(weights, folder / "model.json", "tiny", licence="Apache-2.0")
    model.write(folder / "model.json")
    return model


def write_tokenizer(weights: Path) -> None:
    """A tokenizer of bytes: a text has as many tokens as bytes, special tokens one each."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate([*SPECIAL, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(weights / "tokenizer.json"))
    roles = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "pad_token": SPECIAL[0], "unk_token": SPECIAL[0]}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048, **roles}
    (weights / "tokenizer_config.json").write_text(json.dumps(settings))
    (weights / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a Llama's weights."""
    keys = HIDDEN // HEADS * KEY_HEADS
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name, rows in (("q_proj", HIDDEN), ("k_proj", keys), ("v_proj", keys), ("o_proj", HIDDEN)):
            found[f"{prefix}.self_attn.{name}.weight"] = (rows, HIDDEN)
        found[f"{prefix}.mlp.gate_proj.weight"] = (INNER, HIDDEN)
        found[f"{prefix}.mlp.up_proj.weight"] = (INNER, HIDDEN)
        found[f"{prefix}.mlp.down_proj.weight"] = (HIDDEN, INNER)
        found[f"{prefix}.input_layernorm.weight"] = (HIDDEN,)
        found[f"{prefix}.post_attention_layernorm.weight"] = (HIDDEN,)
    found["model.norm.weight"] = (HIDDEN,)
    return found


def write_safetensors(path: Path, wanted: dict[str, tuple[int, ...]]) -> None:
    """Random bfloat16 weights (norms are ones) in the safetensors format: a JSON header, then the numbers."""
    random = np.random.default_rng(0)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, shape in wanted.items():
        values = np.ones(shape) if len(shape) == 1 else random.normal(0, 0.05, shape)
        data = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()  # the upper half is the bfloat16
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
