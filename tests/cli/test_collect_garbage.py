"""Results that no recipe uses are listed, and removed only where asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from collect_garbage import main


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for folder in ("drawn/math-0123456789ab", "drawn/math-ba9876543210", "students/small-111111111111", "logs/x"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "questions.parquet").write_bytes(b"x" * 1000)
    return tmp_path


def test_unused_results_are_listed_and_stay(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(results), "--used", "0123456789ab"]) == 0
    listed = capsys.readouterr().out
    assert "math-ba9876543210" in listed
    assert "small-111111111111" in listed
    assert "math-0123456789ab" not in listed
    assert (results / "drawn/math-ba9876543210").is_dir()


def test_only_unused_stages_are_removed(results: Path) -> None:
    assert main(["--results", str(results), "--used", "0123456789ab", "--remove"]) == 0
    assert not (results / "drawn/math-ba9876543210").exists()
    assert not (results / "students/small-111111111111").exists()
    assert (results / "drawn/math-0123456789ab/questions.parquet").is_file()
    assert (results / "logs/x").is_dir()
