"""A job that may start an engine is given the engine's GPUs, memory and cores, whatever it asks the model for."""

from __future__ import annotations

import re
from typing import Any

import yaml
from tests.workflow.conftest import Checkout

DOCUMENTS = {
    "domain": "math",
    "connector": "written",
    "documents": {"connector": "local", "path": "documents.jsonl", "column": "question"},
    "model": "qwq-32b",
    "licence": "cc0-1.0",
}
EXAMPLES = {"positives": ["openmath-2-math"], "negatives": ["stackexchange-physics"]}
CONFIG: dict[str, Any] = {
    "catalog": ["catalog", "own"],
    "recipes": {
        "openthoughts3": {
            "domains": {
                "math": {
                    "sources": ["notes"],
                    "select": {"by": "response_length", "model": "qwq-32b", "keep": 0.5},
                    "short": "allowed",
                },
                "science": {"select": {"by": "embeddings", "model": "minilm-l6", "keep": 0.5, "examples": EXAMPLES}},
            },
            "filter": {"by": "llm_verification", "model": "qwq-32b"},
        }
    },
}


def test_local_models_get_the_memory_and_cores_of_their_engines(checkout: Checkout) -> None:
    (checkout.folder / "own").mkdir()
    (checkout.folder / "own/sources.yaml").write_text(yaml.safe_dump({"notes": DOCUMENTS}))
    (checkout.folder / "documents.jsonl").write_text('{"question": "A page."}\n')
    own = checkout.write_config(CONFIG)
    output = checkout.snakemake("-n", "--cores", "64", "--configfile", "config.yaml", own)
    found = {}
    for job in re.split(r"^(?=(?:local)?rule )", output, flags=re.MULTILINE):
        name = re.match(r"(?:local)?rule (\w+):", job)
        given = re.search(r" gpu=(\d+), engine=1,.* mem_mb=(\d+)", job)
        if name and given:
            threads = re.search(r"^    threads: (\d+)", job, re.MULTILINE)
            found[name[1]] = (int(given[1]), int(given[2]), int(threads[1]) if threads else 1)
    on_four = ("write_questions", "label_questions", "sample_answers", "verify_answers", "sample_evaluation")
    on_one = ("embed_examples", "embed_questions")
    assert found == {**dict.fromkeys(on_four, (4, 192_000, 13)), **dict.fromkeys(on_one, (1, 96_000, 4))}
