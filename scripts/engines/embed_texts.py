"""Embed texts with a sentence model: ``embed_texts.py FOLDER TEXTS.jsonl VECTORS.npy``.

Runs as a program in an engine's environment (it needs torch and transformers, and nothing of this project). The folder
is one of sentence-transformers; its files say how tokens are pooled and whether vectors have length 1. A text is cut
where the model's length ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BATCH_TOKENS = 16_384


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def embed(folder: Path, texts: list[str]) -> Any:
    """The vectors of texts, one per row (float32)."""
    import numpy
    import torch
    from transformers import AutoModel, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    longest = read_json(folder / "sentence_bert_config.json").get("max_seq_length", 512)
    pooling = read_json(folder / "1_Pooling" / "config.json")
    first_token = pooling.get("pooling_mode_cls_token", False)
    if not first_token and not pooling.get("pooling_mode_mean_tokens", True):
        raise SystemExit(f"{folder} pools tokens in a way that is not known here: use a model of mean or first tokens.")
    normalize = any("Normalize" in part["type"] for part in read_json(folder / "modules.json"))  # type: ignore[index]
    tokens = tokenizer(texts, truncation=True, max_length=longest)["input_ids"] if texts else []
    order = sorted(range(len(texts)), key=lambda place: len(tokens[place]))
    vectors = numpy.zeros((len(texts), model.config.hidden_size), dtype=numpy.float32)
    with torch.inference_mode():
        start = 0
        while start < len(order):
            size = 1
            while start + size < len(order) and (size + 1) * len(tokens[order[start + size]]) <= BATCH_TOKENS:
                size += 1
            places = order[start : start + size]
            padded = tokenizer.pad({"input_ids": [tokens[place] for place in places]}, return_tensors="pt").to(device)
            states = model(**padded).last_hidden_state
            mask = padded["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = states[:, 0] if first_token else (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            pooled = torch.nn.functional.normalize(pooled, dim=1) if normalize else pooled
            vectors[places] = pooled.cpu().numpy()
            start += size
    return vectors


if __name__ == "__main__":
    import numpy

    lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    numpy.save(sys.argv[3], embed(Path(sys.argv[1]), [json.loads(line) for line in lines]))
