"""``tokenize_dataset.py`` and ``train_student.py``: what they refuse, before any engine is started."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.tiny_model import make_tiny_model

import tokenize_dataset
import train_student
from openthoughts.base.tables import DATASET

SCALE = {"global_batch": 4, "learning_rate": 1e-3, "cutoff": 512, "max_steps": 2}
STATISTICS = {"packed_rows": 9, "template": "smollm2", "cutoff": 512, "digest": "0" * 64}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset, its description, a model and statistics; no engine is installed."""
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENTS", str(tmp_path / "environments"))
    make_tiny_model(tmp_path / "base")
    row = {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]}
    pl.DataFrame([row], schema={"conversations": DATASET["conversations"]}).write_parquet(tmp_path / "dataset.parquet")
    (tmp_path / "dataset_info.json").write_text(json.dumps({"demo": {"file_name": "dataset.parquet"}}))
    (tmp_path / "statistics.json").write_text(json.dumps(STATISTICS))
    (tmp_path / "rows").mkdir()
    return tmp_path


def tokenize(files: Path, *further: str) -> int:
    return tokenize_dataset.main(
        [
            *("--dataset", str(files / "dataset.parquet"), "--info", str(files / "dataset_info.json")),
            *("--model", str(files / "base" / "model.json"), "--template", "smollm2", "--cutoff", "512"),
            *("--settings", "{}", "--output", str(files / "tokens"), "--statistics", str(files / "counts.json")),
            *further,
        ]
    )


def train(files: Path, *further: str) -> int:
    return train_student.main(
        [
            *("--tokenized", str(files / "rows"), "--statistics", str(files / "statistics.json")),
            *("--model", str(files / "base" / "model.json"), "--name", "student", "--settings", json.dumps(SCALE)),
            *("--output", str(files / "student.json"), "--metrics", str(files / "metrics.parquet")),
            *further,
        ]
    )


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_tokenising_without_the_engine_says_how_to_build_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenize(files) == 1
    assert "scripts/environments.py llamafactory-cpu" in sentence(capsys)
    assert not (files / "tokens").exists()


def test_accelerator_picks_the_environment(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenize(files, "--accelerator", "cuda") == 1
    assert sentence(capsys).endswith("scripts/environments.py llamafactory")


def test_an_empty_dataset_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pl.read_parquet(files / "dataset.parquet").clear().write_parquet(files / "dataset.parquet")
    assert tokenize(files) == 1
    assert "dataset.parquet has no rows" in sentence(capsys)


def test_a_dataset_cut_short_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (files / "dataset.parquet").read_bytes()
    (files / "dataset.parquet").write_bytes(data[: len(data) // 2])
    assert tokenize(files) == 1
    assert "dataset.parquet is not a whole Parquet file" in sentence(capsys)


def test_a_description_of_another_file_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "dataset_info.json").write_text(json.dumps({"demo": {"file_name": "other.parquet"}}))
    assert tokenize(files) == 1
    assert "does not describe dataset.parquet" in sentence(capsys)


def test_training_without_the_engine_says_how_to_build_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(files) == 1
    assert "scripts/environments.py llamafactory-cpu" in sentence(capsys)
    assert not (files / "student.json").exists()


def test_a_batch_that_does_not_divide_is_refused_first(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(files, "--processes", "3") == 1
    assert "a global batch of 4 does not divide over 3 training processes: use 2 or 4" in sentence(capsys)
    assert not list(files.glob("training-*"))


def test_gpus_count_only_with_cuda(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(files, "--accelerator", "cuda", "--gpus", "8") == 1
    assert "does not divide over 8" in sentence(capsys)
    assert train(files, "--gpus", "8") == 1
    assert "environments.py" in sentence(capsys)


def test_data_cut_elsewhere_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(files, "--settings", json.dumps(SCALE | {"cutoff": 1024})) == 1
    assert "tokenised with cutoff 512, the scale says 1024" in sentence(capsys)


def test_statistics_cut_short_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "statistics.json").write_text("{")
    assert train(files) == 1
    assert "run tokenize_dataset again" in sentence(capsys)


def test_two_nodes_without_srun_are_refused(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "NODE_RANK", "NNODES"):
        monkeypatch.delenv(name, raising=False)
    assert train(files, "--nodes", "2") == 1
    assert "srun --nodes 2" in sentence(capsys)
