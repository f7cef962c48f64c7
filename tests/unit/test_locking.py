"""What `lock` pins, and that a fetch holds on to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from tests.fake_hub import FakeHub

import fetch_source
import lock
from openthoughts.base.hashing import file_sha256
from openthoughts.models.architecture import Architecture
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.speeds import student_seconds
from openthoughts.sources import hub as connector

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    connector._repository_files.cache_clear()
    monkeypatch.setattr("openthoughts.plan.catalog.WORKFLOW", tmp_path / "workflow")  # which ships no catalog here
    (tmp_path / "workflow" / "catalog").mkdir(parents=True)
    with FakeHub().running() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


def catalog(folder: Path, **sections: dict[str, dict[str, object]]) -> Path:
    folder.mkdir(exist_ok=True)
    for section, entries in sections.items():
        (folder / f"{section}.yaml").write_text(yaml.safe_dump(entries))
    return folder


def run(folder: Path, *arguments: str) -> int:
    return lock.main(["--catalog", str(folder), "--output", str(folder / "lock.yaml"), *arguments])


def pins(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    return yaml.safe_load((folder / "lock.yaml").read_text())


def source(dataset: str, **more: object) -> dict[str, object]:
    return {"connector": "hub", "domain": "math", "dataset": dataset, "column": "q", **more}


def rows(text: str) -> dict[str, str]:
    return {"train.jsonl": f'{{"q": "{text}"}}\n'}


def test_datasets_models_and_files_are_pinned(hub: FakeHub, tmp_path: Path) -> None:
    commits = {name: hub.commit(name, rows(name)) for name in ("a/one", "a/two", "a/model")}
    converted = hub.commit("a/old", rows("old"), branch="refs/convert/parquet")
    posts = tmp_path / "Posts.xml"
    posts.write_text("<posts />")
    parts = [{"dataset": "a/one"}, {"dataset": "a/two"}]
    folder = catalog(
        tmp_path / "catalog",
        sources={
            "one": source("a/one"),
            "both": {"connector": "hub", "domain": "math", "column": "q", "parts": parts},
            "old": source("a/old", ref="refs/convert/parquet"),
            "site": {"connector": "stackexchange", "domain": "math", "site": "x", "url": str(posts)},
            "package": {"connector": "champ", "domain": "math", "part": "all"},
            "lost": {"connector": "unresolved", "domain": "math", "note": "unknown"},
        },
        benchmarks={"two": source("a/two")},
        models={
            "model": {"kind": "hub", "repository": "a/model"},
            "api": {"kind": "api", "api_model": "x", "base_url": "u"},
        },
    )
    assert run(folder) == 0
    both = f"a/one@{commits['a/one']},a/two@{commits['a/two']}"
    assert pins(folder) == {
        "sources": {
            "both": {"revision": both},
            "old": {"revision": converted},
            "one": {"revision": commits["a/one"]},
            "site": {"revision": file_sha256(posts)},
        },
        "benchmarks": {"two": {"revision": commits["a/two"]}},
        "models": {"model": {"revision": commits["a/model"]}},
    }
    whole = (folder / "lock.yaml").read_bytes()
    assert run(folder) == 0
    assert (folder / "lock.yaml").read_bytes() == whole


def test_what_a_model_says_of_its_cost_is_noted_and_no_part_of_an_id(hub: FakeHub, tmp_path: Path) -> None:
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
        "rope_scaling": None,
        "torch_dtype": "bfloat16",
    }
    hub.commit("a/model", {"config.json": json.dumps(config)})
    hub.commit("a/encoder", {"config.json": "{}"})
    hub.commit("a/odd", {"config.json": '{"text_config": [1]}'})
    hub.commit("a/closed", {"config.json": json.dumps(config)})
    hub.repositories["a/closed"].gated = True
    entries = {name: {"kind": "hub", "repository": f"a/{name}"} for name in ("closed", "encoder", "model", "odd")}
    folder = catalog(tmp_path / "catalog", models=entries)
    assert run(folder) == 0
    assert list(pins(folder)["architectures"]) == ["model"]
    shutil.copy(ROOT / "catalog/gpus.yaml", folder)
    known = read_catalog([folder])
    with_gpu = Builder(known, gpu="h100").model("model")
    without = Builder(replace(known, lock={"models": pins(folder)["models"]})).model("model")
    assert with_gpu.id == without.id
    assert Architecture.from_config(with_gpu.execution["architecture"]).parameters() == pytest.approx(7.6e9, rel=0.01)
    assert student_seconds(without.execution, 4096) is None


def test_a_pin_stays_until_an_update(hub: FakeHub, tmp_path: Path) -> None:
    first = hub.commit("a/one", rows("First?"))
    folder = catalog(tmp_path / "catalog", sources={"one": source("a/one")})
    assert run(folder) == 0
    second = hub.commit("a/one", rows("Second?"))
    assert run(folder) == 0
    assert pins(folder)["sources"]["one"]["revision"] == first
    assert run(folder, "--update") == 0
    assert pins(folder)["sources"]["one"]["revision"] == second


def test_named_entries_only(hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.commit("a/one", rows("One?"))
    folder = catalog(tmp_path / "catalog", sources={"one": source("a/one"), "gone": source("a/gone")})
    assert run(folder, "--sources", "one") == 0
    assert list(pins(folder)["sources"]) == ["one"]
    assert run(folder, "--sources", "on") == 1
    assert "the catalog's sources have no 'on' (did you mean one?)" in capsys.readouterr().err


def test_what_cannot_be_pinned_is_named_after_the_others(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.commit("a/one", rows("One?"))
    folder = catalog(tmp_path / "catalog", sources={"gone": source("a/gone"), "one": source("a/one")})
    assert run(folder) == 1
    assert "not pinned: gone" in capsys.readouterr().err
    assert pins(folder) == {"sources": {"one": {"revision": commit}}}


def test_a_fetch_reads_what_is_locked(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit("a/one", rows("First?"))
    folder = catalog(tmp_path / "catalog", sources={"one": source("a/one")})
    run(folder)
    hub.commit("a/one", rows("Second?"))
    output = tmp_path / "q.parquet"
    entry = '{"connector": "hub", "dataset": "a/one", "column": "q"}'
    arguments = ["--name", "one", "--domain", "math", "--entry", entry, "--output", str(output)]
    assert fetch_source.main([*arguments, "--revision", pins(folder)["sources"]["one"]["revision"]]) == 0
    assert pl.read_parquet(output)["question"].to_list() == ["First?"]
    assert fetch_source.main(arguments) == 1
