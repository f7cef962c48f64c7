"""What the connectors read, and what they say about entries and files that cannot be read."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from rapidfuzz import fuzz

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import QUESTIONS
from openthoughts.sources.columns import first_user_message, shuffled_choices
from openthoughts.sources.connectors.procedural import generate
from openthoughts.sources.entries import entry_problems
from openthoughts.sources.reading import read_questions, repeats
from openthoughts.sources.text import answer_text, valid_text


def questions(entry: dict[str, Any], name: str = "one", revision: str | None = None) -> pl.DataFrame:
    return pl.concat(read_questions(name, "math", entry, revision))


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestText:
    def test_lone_surrogates_are_replaced_and_pairs_joined(self) -> None:
        assert valid_text("a\ud800b") == "a�b"
        assert valid_text("\ud83d\ude00") == "😀"
        assert valid_text("déjà") == "déjà"

    @pytest.mark.parametrize(
        ("value", "text"), [(None, None), ("  ", None), (float("nan"), None), (5, "5"), (" x ", "x")]
    )
    def test_reference_answers(self, value: object, text: str | None) -> None:
        assert answer_text(value) == text


class TestEntries:
    def test_mistakes_are_named_with_what_was_meant(self) -> None:
        assert entry_problems({"connector": "champ", "part": "all", "licence": "mit", "domain": "math"}) == []
        assert entry_problems({"connector": "human_evl"}, "x") == [
            "x: there is no connector 'human_evl' (did you mean human_eval?)"
        ]
        assert entry_problems({"connector": "champ", "prat": "all"}, "x") == [
            "x: the key 'part' is missing",
            "x: unknown key 'prat' (did you mean part?)",
        ]
        assert "names no connector" in entry_problems({"path": "x"})[0]


class TestProcedural:
    ENTRY: ClassVar[dict[str, Any]] = {
        "connector": "procedural",
        "size": 3,
        "seed": 4,
        "families": {"gcd": {}, "bf": {"size": 2}},
    }

    @pytest.mark.slow
    def test_families_sizes_and_what_their_verifier_needs(self) -> None:
        import reasoning_gym

        table = questions(self.ENTRY)
        assert table.columns == list(QUESTIONS)
        assert table["source_row"].to_list() == ["gcd-0", "gcd-1", "gcd-2", "bf-0", "bf-1"]
        for row in table.iter_rows(named=True):
            metadata = json.loads(row["metadata"])
            score = reasoning_gym.get_score_answer_fn(metadata["family"])
            assert score(row["reference_answer"], metadata["entry"]) == 1.0
            assert score("no answer", metadata["entry"]) < 1.0

    @pytest.mark.slow
    def test_questions_do_not_depend_on_the_hash_seed_of_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tables = []
        for seed in ("1", "2"):
            monkeypatch.setenv("PYTHONHASHSEED", seed)
            tables.append(questions({**self.ENTRY, "families": {"word_ladder": {"size": 4}}}))
        assert tables[0].equals(tables[1])

    @pytest.mark.parametrize(
        ("family", "settings", "message"),
        [
            ("gdc", {}, "no family 'gdc' (did you mean gcd?)"),
            ("gcd", {"sizes": 3}, "family gcd does not take these settings"),
            ("rearc", {"size": 1}, "family rearc cannot be scored from a file"),
        ],
    )
    def test_mistakes(self, family: str, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError) as caught:
            list(generate(family, settings))
        assert message in str(caught.value)

    @pytest.mark.slow
    def test_a_mistake_in_the_child_process_is_one_sentence(self) -> None:
        with pytest.raises(UserError) as caught:
            questions({**self.ENTRY, "families": {"bf": {"size": 1}, "gdc": {}}})
        assert str(caught.value) == "one: reasoning-gym has no family 'gdc' (did you mean gcd?)."


class TestPackages:
    def test_champ_parts_hold_every_problem_once(self) -> None:
        parts = {part: questions({"connector": "champ", "part": part}) for part in ("source", "benchmark", "all")}
        ids = {part: set(table["source_row"]) for part, table in parts.items()}
        assert len(ids["all"]) == 270
        assert ids["source"] | ids["benchmark"] == ids["all"]
        assert not set(parts["source"]["question_id"]) & set(parts["benchmark"]["question_id"])
        assert 0.6 < len(ids["source"]) / 270 < 0.8
        assert parts["all"]["reference_answer"].null_count() == 0

    def test_champ_numeric_answers_are_numbers(self) -> None:
        table = questions({"connector": "champ", "part": "all", "numeric": True})
        assert table.height == 85
        assert all(Fraction(answer) is not None for answer in table["reference_answer"])

    def test_human_eval(self) -> None:
        table = questions({"connector": "human_eval"})
        assert table.height == 164
        first = table.row(0, named=True)
        assert first["source_row"] == "HumanEval/0"
        assert "def has_close_elements" in first["question"]
        assert json.loads(first["metadata"])["entry_point"] == "has_close_elements"

    def test_limit_reads_no_further(self) -> None:
        assert questions({"connector": "human_eval", "limit": 3}).height == 3


class TestLocal:
    ROWS: ClassVar[list[dict[str, Any]]] = [
        {"q": "One?", "a": 1, "kind": "x", "id": "r1"},
        {"q": "   ", "a": 2, "kind": "x", "id": "r2"},
        {"q": "Two \ud800?", "a": None, "kind": "y", "id": "r3"},
        {"q": None, "a": 4, "kind": "x", "id": "r4"},
    ]

    def test_json_lines(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "q.jsonl", self.ROWS)
        table = questions(
            {"connector": "local", "path": str(path), "column": "q", "reference": "a", "metadata": "kind"}
        )
        assert table["question"].to_list() == ["One?", "Two �?"]
        assert table["question_id"].to_list() == [question_id("One?"), question_id("Two �?")]
        assert table["source_row"].to_list() == ["0", "2"]
        assert table["reference_answer"].to_list() == ["1", None]
        assert [json.loads(text) for text in table["metadata"]] == [{"kind": "x"}, {"kind": "y"}]

    def test_the_same_rows_from_every_format(self, tmp_path: Path) -> None:
        rows = [{"q": f"Question {number}?", "a": str(number)} for number in range(5)]
        frame = pl.DataFrame(rows)
        frame.write_parquet(tmp_path / "q.parquet")
        frame.write_csv(tmp_path / "q.csv")
        frame.write_csv(tmp_path / "q.tsv", separator="\t")
        (tmp_path / "q.json").write_text(json.dumps(rows))
        with gzip.open(tmp_path / "q.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        tables = [
            questions({"connector": "local", "path": str(tmp_path / name), "column": "q", "reference": "a"})
            for name in ("q.parquet", "q.csv", "q.tsv", "q.json", "q.jsonl.gz")
        ]
        assert tables[0]["reference_answer"].to_list() == list("01234")
        assert all(table.equals(tables[0]) for table in tables)

    def test_a_folder_is_read_in_the_order_of_its_names(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        jsonl(tmp_path / "b.jsonl", [{"q": "B?"}])
        jsonl(tmp_path / "a.jsonl", [{"q": "A?"}, {"q": "AA?"}])
        jsonl(tmp_path / "deep" / "c.jsonl", [{"q": "C?"}])
        (tmp_path / "notes.md").write_text("not a table")
        table = questions({"connector": "local", "path": str(tmp_path), "column": "q"})
        assert dict(table.select("source_row", "question").iter_rows()) == {
            "a.jsonl:0": "A?",
            "a.jsonl:1": "AA?",
            "b.jsonl:0": "B?",
            "deep/c.jsonl:0": "C?",
        }

    def test_filter_template_and_key(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "q.jsonl", self.ROWS)
        entry = {"connector": "local", "path": str(path), "text": "{kind}: {q} {{1}}", "where": "kind = 'x' AND a < 4"}
        table = questions({**entry, "key": "id"})
        assert table["question"].to_list() == ["x: One? {1}", "x:     {1}"]
        assert table["source_row"].to_list() == ["r1", "r2"]

    def test_a_row_without_a_key_has_its_number(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "q.jsonl", [{"q": "A?", "id": "a"}, {"q": "B?"}])
        table = questions({"connector": "local", "path": str(path), "column": "q", "key": "id"})
        assert table["source_row"].to_list() == ["a", "1"]

    @pytest.mark.parametrize("names", [("role", "content", "user"), ("from", "value", "human")])
    def test_first_user_message_of_a_chat(self, tmp_path: Path, names: tuple[str, str, str]) -> None:
        role, content, user = names
        chat = [{role: "system", content: "Be brief."}, {role: user, content: "Why?"}, {role: user, content: "And?"}]
        path = jsonl(tmp_path / "q.jsonl", [{"m": chat}, {"m": []}, {"m": [{role: "assistant", content: "Hm."}]}])
        assert questions({"connector": "local", "path": str(path), "chat": "m"})["question"].to_list() == ["Why?"]

    @pytest.mark.parametrize("name", ["text", "content"])
    def test_messages_that_are_lists_of_blocks(self, tmp_path: Path, name: str) -> None:
        blocks = [{"type": "text", name: "Why does this fail?"}, {"type": "image", name: None}]
        blocks.append({"type": "code", name: "1 / 0"})
        chat = [{"role": "user", "content": blocks}, {"role": "assistant", "content": [{"type": "text", name: "Oh."}]}]
        path = jsonl(tmp_path / "q.jsonl", [{"m": chat}, {"m": chat[1:]}])
        table = questions({"connector": "local", "path": str(path), "chat": "m"})
        assert table["question"].to_list() == ["Why does this fail?\n\n1 / 0"]

    def test_chat_as_json_text(self) -> None:
        column = pl.Series("m", ['[{"role": "user", "content": "Why?"}]', None])
        assert first_user_message(column).to_list() == ["Why?", None]

    @pytest.mark.parametrize("answer", ["B", "b", 1, "1", "blue"])
    def test_choices_and_the_letter_of_the_right_one(self, tmp_path: Path, answer: object) -> None:
        path = jsonl(tmp_path / "q.jsonl", [{"q": "Colour?", "c": ["red", "blue"], "a": answer}])
        table = questions({"connector": "local", "path": str(path), "column": "q", "choices": "c", "reference": "a"})
        assert table["reference_answer"].to_list() == ["B"]
        assert json.loads(table["metadata"][0]) == {"choices": ["red", "blue"]}

    def test_choices_of_columns_are_put_in_an_order_of_their_own(self, tmp_path: Path) -> None:
        rows = [{"q": f"Question {number}?", "right": "yes", "wrong": "no", "bad": "maybe"} for number in range(60)]
        path = jsonl(tmp_path / "q.jsonl", rows)
        choices = {"correct": "right", "incorrect": ["wrong", "bad"]}
        table = questions({"connector": "local", "path": str(path), "column": "q", "choices": choices})
        for letter, metadata in table.select("reference_answer", "metadata").iter_rows():
            assert json.loads(metadata)["choices"]["ABC".index(letter)] == "yes"
        assert set(table["reference_answer"]) == set("ABC")
        assert shuffled_choices("q", "a", ["b", "c"])[0] == shuffled_choices("q", "a", ["c", "b"])[0]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"column": "qq"}, "has no column 'qq' (did you mean q?): its columns are a, id, kind, q."),
            ({"path": "nowhere"}, "nowhere is neither a file nor a folder"),
            ({"text": "{q}"}, "said by one of column, text, chat: column and text say it"),
            ({"where": "kind ="}, "the condition 'kind =' cannot be read"),
            ({"format": "parquet"}, "is not a whole Parquet file"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, change: dict[str, Any], message: str) -> None:
        path = jsonl(tmp_path / "q.jsonl", [{"q": "A?", "a": 1, "kind": "x", "id": "1"}])
        with pytest.raises(UserError) as caught:
            questions({"connector": "local", "path": str(path), "column": "q", **change})
        assert message in str(caught.value)

    def test_a_line_that_is_not_json_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "q.jsonl").write_text('{"q": "A?"}\n{"q": \n')
        with pytest.raises(UserError, match="line 2 is not JSON"):
            questions({"connector": "local", "path": str(tmp_path), "column": "q"})

    def test_a_text_column_is_no_chat(self, tmp_path: Path) -> None:
        pl.DataFrame({"q": [["a"]]}).write_parquet(tmp_path / "q.parquet")
        with pytest.raises(UserError, match="'q' is not a list of messages"):
            questions({"connector": "local", "path": str(tmp_path), "chat": "q"})


class TestPlanted:
    ENTRY: ClassVar[dict[str, Any]] = {
        "connector": "planted",
        "seed": 1,
        "originals": {"connector": "champ", "part": "source"},
        "benchmark": {"connector": "champ", "part": "benchmark"},
        **dict.fromkeys(("exact", "near", "repeated", "verbatim", "edited", "embedded"), 3),
    }

    def rows(self, kind: str) -> list[dict[str, Any]]:
        rows = [{**row, **json.loads(row["metadata"])} for row in questions(self.ENTRY).iter_rows(named=True)]
        return [row for row in rows if row["planted"] == kind]

    def texts(self, part: str) -> dict[str, str]:
        return dict(questions({"connector": "champ", "part": part}).select("question_id", "question").iter_rows())

    def test_copies(self) -> None:
        originals = {row["of"]: row["question"] for row in self.rows("original")}
        assert len(originals) == 6
        assert [row["question"] for row in self.rows("exact")] == [originals[row["of"]] for row in self.rows("exact")]
        for row in self.rows("near"):
            assert row["question"] != originals[row["of"]]
            assert fuzz.ratio(row["question"], originals[row["of"]]) >= 90
        repeated = self.rows("repeated")
        assert len(repeated) == 6
        assert len({row["question_id"] for row in repeated}) == 3

    def test_leaks(self) -> None:
        benchmark = self.texts("benchmark")
        assert all(row["question"] == benchmark[row["of"]] for row in self.rows("verbatim"))
        for row in self.rows("edited"):
            assert row["question"] not in benchmark.values()
            assert fuzz.ratio(row["question"], benchmark[row["of"]]) >= 85
        for row in self.rows("embedded"):
            assert benchmark[row["of"]] in row["question"]
            assert fuzz.ratio(row["question"], benchmark[row["of"]]) < 75

    def test_no_text_is_planted_twice_except_on_purpose(self) -> None:
        table = questions(self.ENTRY)
        counted = table.group_by("question_id").len()
        assert counted.filter(pl.col("len") > 1).height == 6
        assert table["source_row"].is_unique().all()

    def test_too_few_questions_to_plant_from(self) -> None:
        with pytest.raises(UserError, match="`benchmark` has 0 questions"):
            questions({**self.ENTRY, "benchmark": {"connector": "champ", "part": "benchmark", "limit": 0}})


class TestRepeats:
    def test_rounds_and_a_part_of_the_last(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "q.jsonl", [{"q": f"Question {number}?"} for number in range(4)])
        table = questions({"connector": "local", "path": str(path), "column": "q"})
        repeated = repeats(table, 11, seed=3)
        assert repeated.height == 7
        assert repeated["source_row"].is_unique().all()
        assert sorted(repeated["source_row"].str.slice(-2).unique()) == ["~1", "~2"]
        assert repeats(table, 10, seed=3)["source_row"].is_in(repeated["source_row"].implode()).all()
        assert not repeats(table, 10, seed=4).equals(repeats(table, 10, seed=3))
