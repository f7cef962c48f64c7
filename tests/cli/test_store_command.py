"""The command that looks after a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.test_store import row

import store as store_command
from openthoughts.base.tables import read_table
from openthoughts.store.rows import ROWS
from openthoughts.store.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store(tmp_path / "store") as store:
        for number in range(20):
            store.append(row(number, usd=0.25))
        store.append(row(20, text=None, error="refused"))
        store.append(row(20, text="in the end", model="renamed"))
    return tmp_path / "store"


def test_stats_count_by_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert store_command.main(["stats", "--store", str(folder), "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    by_name = {one["model"]: one for one in stats["models"]}
    assert by_name["model"]["answers"] == 20
    assert by_name["model"]["usd"] == 5.0
    assert by_name["renamed"]["answers"] == 1
    assert by_name["model"]["completion_tokens"] == 80
    assert stats["waiting_in_journals"] == 0
    assert store_command.main(["stats", "--store", str(folder)]) == 0
    assert "renamed" in capsys.readouterr().out


def test_export_writes_one_row_a_key(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.parquet"
    assert store_command.main(["export", "--store", str(folder), "--output", str(output)]) == 0
    table = read_table(output, ROWS)
    assert table.height == 21
    assert table.get_column("key").is_unique().all()
    assert table.equals(table.sort("model_id", "question_id", "sample"))
    assert store_command.main(["compact", "--store", str(folder), "--keep-hours", "0"]) == 0
    first = output.read_bytes()
    assert store_command.main(["export", "--store", str(folder), "--output", str(output)]) == 0
    assert output.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["export", "--output", "x.parquet", "--model", "nobody"], "nothing of nobody"),
        (["stats", "--store", "nowhere"], "nowhere is not a completion store"),
    ],
)
def test_mistakes_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    further = [] if "--store" in arguments else ["--store", str(folder)]
    assert store_command.main([*arguments, *further]) == 1
    assert sentence in capsys.readouterr().err
