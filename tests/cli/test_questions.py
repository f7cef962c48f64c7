"""The programs that fetch, select, mix and draw questions, as the rules call them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

import deduplicate
import draw_questions
import fetch_source
import limit_length
import mix_sources
import select_questions
from openthoughts.base.tables import DRAWN, QUESTIONS


def fetch(folder: Path, name: str, entry: dict[str, object]) -> int:
    arguments = ["--name", name, "--domain", "math", "--entry", json.dumps(entry)]
    return fetch_source.main([*arguments, "--output", str(folder / f"{name}.parquet")])


def test_from_two_sources_to_a_draw(tmp_path: Path) -> None:
    assert fetch(tmp_path, "champ", {"connector": "champ", "part": "source", "limit": 60}) == 0
    assert fetch(tmp_path, "code", {"connector": "human_eval", "limit": 30}) == 0
    at = {name: str(tmp_path / f"{name}.parquet") for name in ("mixed", "limited", "drawn", "left")}
    selected = []
    for name in ("champ", "code"):
        selected.append(str(tmp_path / f"{name}-selected.parquet"))
        arguments = ["--questions", str(tmp_path / f"{name}.parquet"), "--by", "random", "--keep", "20", "--seed", "3"]
        assert select_questions.main([*arguments, "--output", selected[-1], "--dropped", at["left"]]) == 0
    assert mix_sources.main(["--questions", *selected, "--seed", "42", "--output", at["mixed"]]) == 0
    arguments = ["--questions", at["mixed"], "--tokenizer", "qwen", "--max-tokens", "150"]
    assert limit_length.main([*arguments, "--output", at["limited"], "--dropped", at["left"]]) == 0
    long = pl.read_parquet(at["left"])
    assert pl.read_parquet(at["limited"]).height + long.height == 40
    assert (long["tokens"] > 150).all()
    arguments = ["--questions", at["limited"], "--count", "12", "--seed", "42"]
    assert draw_questions.main([*arguments, "--output", at["drawn"], "--dropped", at["left"]]) == 0
    drawn = pl.read_parquet(at["drawn"])
    assert drawn.columns == list(DRAWN)
    assert drawn.height == 12
    assert set(drawn["source"]) == {"champ", "code"}


def test_a_benchmark_bears_its_name(tmp_path: Path) -> None:
    assert fetch(tmp_path, "held-out", {"connector": "champ", "part": "benchmark"}) == 0
    table = pl.read_parquet(tmp_path / "held-out.parquet")
    assert table.columns == list(QUESTIONS)
    assert set(table["source"]) == {"held-out"}


def test_fetching_again_gives_the_same_bytes(tmp_path: Path) -> None:
    fetch(tmp_path, "champ", {"connector": "champ", "part": "source"})
    first = (tmp_path / "champ.parquet").read_bytes()
    fetch(tmp_path, "champ", {"connector": "champ", "part": "source"})
    assert (tmp_path / "champ.parquet").read_bytes() == first


def test_repeats_up_to_a_count(tmp_path: Path) -> None:
    fetch(tmp_path, "few", {"connector": "human_eval", "limit": 4, "repeat_to": 10})
    table = pl.read_parquet(tmp_path / "few.parquet")
    assert table.height == 10
    assert table["question_id"].n_unique() == 4
    assert table["source_row"].is_unique().all()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"connector": "champ", "part": "all", "limit": 0}, "error: x has no question: check its path"),
        ({"connector": "chmp"}, "error: x: there is no connector 'chmp' (did you mean champ?)."),
        ({"connector": "champ", "part": "sauce"}, "error: x.part: 'sauce' is not one of the choices"),
    ],
)
def test_mistakes_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: dict[str, object], message: str
) -> None:
    assert fetch(tmp_path, "x", entry) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_rows_that_share_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"q": "A?", "id": 1}\n{"q": "B?", "id": 1}\n')
    assert fetch(tmp_path, "x", {"connector": "local", "path": str(path), "column": "q", "key": "id"}) == 1
    assert "has rows that share a key" in capsys.readouterr().err


def test_an_entry_that_is_not_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--name", "x", "--domain", "math", "--output", str(tmp_path / "x.parquet"), "--entry"]
    for text in ("{", "[]"):
        assert fetch_source.main([*arguments, text]) == 1
        assert "--entry is not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "difficulty", "--keep", "3"], "a selection by difficulty needs labels"),
        (["--by", "random", "--keep", "0"], "--keep 0 must be a whole number above 0, or all"),
        (["--by", "random", "--keep", "some"], "--keep some must be a whole number above 0, or all"),
    ],
)
def test_selecting_without_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    paths = ["--questions", "q.parquet", "--seed", "1", "--output", "o.parquet", "--dropped", "d.parquet"]
    assert select_questions.main([*paths, *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_demos_catalog_can_be_fetched(tmp_path: Path) -> None:
    import yaml

    for section in ("sources", "benchmarks"):
        for name, entry in yaml.safe_load(Path(f"demo/catalog/{section}.yaml").read_text()).items():
            assert fetch(tmp_path, name, entry) == 0
            table = pl.read_parquet(tmp_path / f"{name}.parquet")
            assert table.height == entry["rows"], name
            assert table["question_id"].n_unique() == entry.get("questions", entry["rows"]), name


def test_a_source_of_nineteen_rows_a_question_reaches_its_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"How many ways are there to choose {number} of {number * 7} points?" for number in range(60)]
    rows = "".join(json.dumps({"q": text}) + "\n" for text in texts for _ in range(19))
    (tmp_path / "repeated.jsonl").write_text(rows)
    entry = {"connector": "local", "path": str(tmp_path / "repeated.jsonl"), "column": "q"}
    assert fetch(tmp_path, "source", entry) == 0
    stages = ("source", "selected", "mixed", "limited", "deduplicated", "drawn")
    for name in stages:
        (tmp_path / name).mkdir()
    (tmp_path / "source.parquet").rename(tmp_path / "source/questions.parquet")

    def path(stage: str, file: str = "questions") -> str:
        return str(tmp_path / stage / f"{file}.parquet")

    def run(program: ModuleType, before: str, stage: str, *arguments: str) -> int:
        dropped = [] if stage == "mixed" else ["--dropped", path(stage, "dropped")]
        given = ["--questions", path(before), *arguments, "--output", path(stage), *dropped]
        return int(program.main(given))

    def draw(counted: str, *arguments: str) -> int:
        keep = ["--by", "random", "--keep", "40", "--count", counted, "--seed", "3"]
        assert run(select_questions, "source", "selected", *keep) == 0
        assert run(mix_sources, "selected", "mixed", "--seed", "42") == 0
        assert run(limit_length, "mixed", "limited", "--tokenizer", "qwen", "--max-tokens", "150") == 0
        assert run(deduplicate, "limited", "deduplicated", "--level", "exact") == 0
        capsys.readouterr()
        return run(draw_questions, "deduplicated", "drawn", "--count", "35", "--seed", "42", *arguments)

    assert draw("questions") == 0
    assert pl.read_parquet(path("drawn"))["question_id"].n_unique() == 35
    before = [word for name in stages[:-1] if name != "mixed" for word in ("--before", name, path(name))]
    assert draw("rows", *before) == 1
    error = capsys.readouterr().err
    there = pl.read_parquet(path("deduplicated")).height
    assert f"35 rows are wanted and {there} are there, {35 - there} are missing" in error
    assert "1,140 rows of 60 different questions were read" in error
    assert f"`selected` dropped 1,100 rows ({60 - there} questions): 1,100 not among the 40 kept by random" in error
    assert f"`deduplicated` dropped {40 - there} rows (0 questions)" in error
    assert draw("rows", *before, "--short", "allowed") == 0
    assert pl.read_parquet(path("drawn")).height == there
