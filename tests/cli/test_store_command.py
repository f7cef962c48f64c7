"""The command that looks after a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.unit.test_store import row

import store as store_command
from openthoughts.asking.programs import PROGRAMS
from openthoughts.base.tables import read_table
from openthoughts.inference.job import NOT_SAMPLED
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


def forgotten(folder: Path, *arguments: str) -> set[str]:
    """The keys that are missing after a call of ``forget``."""
    with Store(folder) as store:
        before = set(store.keys(row(0)["model_id"])["key"])  # type: ignore[arg-type]
    assert store_command.main(["forget", "--store", str(folder), *arguments]) == 0
    with Store(folder) as store:
        return before - set(store.keys(row(0)["model_id"])["key"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--empty"], {30, 31, 35, 36, 37, 38, 41}),
        (["--error", "refu"], {32}),
        (["--error", ""], {32, 33, 38}),
        (["--question", str(row(4)["question_id"]), str(row(31)["question_id"])], {4, 31}),
        (["--model", "renamed"], {20}),
        (["--since", "2001-01-01T00:00:00+00:00", "--until", "2002-01-01T00:00:00+00:00"], {34}),
        (["--empty", "--error", "refused"], set()),
    ],
    ids=["empty", "error", "any error", "question", "model", "time", "both"],
)
def test_answers_are_forgotten_and_their_price_is_not(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], numbers: set[int]
) -> None:
    with Store(folder) as store:
        store.append(row(30, text="", usd=0.25))
        store.append(row(31, text=" \n"))
        store.append(row(32, text=None, error="refused"))
        store.append(row(33, text=None, error="too long"))
        store.append(row(34, answered_at=1_000_000_000_000_000, usd=0.25))
        store.append(row(34, answered_at=1_000_000_000_000_000, text="a repeat"))
        store.append(row(35, text="", reasoning="only thought"))
        store.append(row(36, text="</think>"))
        store.append(row(37, text="<think>only thought</think>\u200b\n", finish_reason="EOS"))
        store.append(row(38, text=None, error="the answer is empty, 2 times"))
        store.append(row(39, text="<think>cut while thin", finish_reason="MAX_TOKENS"))
        store.append(row(40, text="4", reasoning="2 + 2"))
        store.append(row(41, text="[THINK]only thought[/THINK]"))
    assert forgotten(folder, *arguments) == set(), "nothing is forgotten before it was shown"
    assert forgotten(folder, *arguments, "--yes") == {row(number)["key"] for number in numbers}
    said = capsys.readouterr().out
    assert ("no answer is meant" in said) == (not numbers)
    with Store(folder) as store:
        assert store.dollars() == 5.5
        assert sum(store.statistics()["usd"]) == 5.5
        store.append(row(30, text="this time"))
    assert forgotten(folder, "--question", str(row(30)["question_id"])) == set()
    with Store(folder) as store:
        (again,) = store.read(row(0)["model_id"], pl.DataFrame([row(30)]).select("key", "question_id"))["text"]  # type: ignore[arg-type]
        assert again == ("this time" if 30 in numbers else "")


@pytest.mark.parametrize(
    ("request_of_it", "rules"),
    [
        ({"response_schema": None}, {"sample_answers", "sample_evaluation", "label_questions"}),
        ({"response_schema": "difficulty"}, {"label_questions"}),
        ({"response_schema": "llm_verification"}, {"verify_answers"}),
        ({"response_schema": "verdict"}, {"judge_answers"}),
        ({"response_schema": "refine"}, {"write_questions"}),
        ({"response_schema": None, "sampling": NOT_SAMPLED.key()}, {"embed_questions", "embed_examples"}),
        ({"response_schema": "of my own"}, set(PROGRAMS)),
        (None, set(PROGRAMS)),
    ],
)
def test_what_was_forgotten_is_asked_again_by_the_rules_that_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], request_of_it: dict[str, Any] | None, rules: set[str]
) -> None:
    with Store(folder) as store:
        store.append(row(50, request=None if request_of_it is None else json.dumps(request_of_it)))
    arguments = ["forget", "--store", str(folder), "--question", str(row(50)["question_id"]), "--yes"]
    assert store_command.main(arguments) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "--forcerun" in line)
    assert set(line.split()[2:]) == rules


def test_nothing_is_forgotten_while_others_write(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(folder) as other:
        other.append(row(50))
        arguments = ["forget", "--store", str(folder), "--model", "model", "--yes"]
        assert store_command.main(arguments) == 1
        assert "is in use: wait until its writers end" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["forget", "--yes"], "say which answers to forget"),
        (["forget", "--error", "("], "is no regular expression"),
        (["forget", "--model", "nobody"], "nothing of nobody"),
        (["export", "--output", "x.parquet", "--model", "nobody"], "nothing of nobody"),
        (["forget", "--since", "yesterday"], "'yesterday' is no time: write 2026-01-31 or 2026-01-31T18:00, of this"),
        (["forget", "--until", "1.2.2026"], "2026-01-31T18:00+00:00 names another one"),
        (["stats", "--store", "nowhere"], "nowhere is not a completion store"),
    ],
)
def test_mistakes_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    further = [] if "--store" in arguments else ["--store", str(folder)]
    assert store_command.main([*arguments, *further]) == 1
    assert sentence in capsys.readouterr().err
