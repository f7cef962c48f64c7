"""What the tests of asking share: a model's description, tables of questions, and a server that scripts join."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from tests.fake_openai import API_KEY, MODEL, FakeServer

from openthoughts.base.hashing import question_id
from openthoughts.base.tables import DRAWN, write_table
from openthoughts.models.model import Model

SAMPLING = '{"temperature": 1.0, "top_p": null, "max_tokens": 100}'


def write_model(folder: Path, opening: str = "", name: str = "teacher") -> Path:
    """A local model's ``model.json``; its weights are never needed, a server has it already."""
    path = folder / "model.json"
    model = Model(
        name,
        f"test/{name}@1",
        path="weights",
        digest="0" * 64,
        dtype="bfloat16",
        max_model_len=2048,
        chat_template="0" * 64,
        opening=opening,
    )
    model.write(path)
    return path


def servers(model: Path, server: FakeServer) -> str:
    """The value of OPENTHOUGHTS_SERVERS that makes scripts ask ``server`` for ``model``."""
    address = {"base_url": server.base_url, "api_key": API_KEY, "model_name": MODEL}
    return json.dumps({Model.read(model).key_digest(): address})


def write_questions(path: Path, texts: Sequence[str], occurrences: Sequence[int] | None = None) -> Path:
    """A drawn table of questions."""
    count = len(texts)
    table = pl.DataFrame(
        {
            "question_id": [question_id(text) for text in texts],
            "question": texts,
            "domain": ["math"] * count,
            "source": ["made"] * count,
            "source_row": [str(row) for row in range(count)],
            "reference_answer": pl.Series([None] * count, dtype=pl.String),
            "metadata": ["{}"] * count,
            "label": [1.0] * count,
            "occurrence": occurrences or [0] * count,
        }
    )
    write_table(table, path, DRAWN)
    return path


def asking_arguments(folder: Path, model: Path, *further: str) -> list[str]:
    """The arguments that every script which asks has."""
    return [
        *("--model", str(model), "--store", str(folder / "store"), "--sampling", SAMPLING, "--seed", "1"),
        *("--accelerator", "cpu", "--concurrency", "8"),
        *further,
    ]
