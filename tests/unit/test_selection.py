"""Which rows the selections keep, and that growing them keeps what was kept."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import DRAWN, DROPPED, LABELLED, LABELS, QUESTIONS, write_table
from openthoughts.questions.selection import Counted, draw, limit_length, mix, select


def table(texts: list[str], source: str = "one") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "question_id": [question_id(text) for text in texts],
            "question": texts,
            "domain": "math",
            "source": source,
            "source_row": [str(number) for number in range(len(texts))],
            "reference_answer": pl.Series([None] * len(texts), dtype=pl.String),
            "metadata": "{}",
        },
        schema=dict(QUESTIONS),
    )


def labelled(texts: list[str], source: str = "one") -> pl.DataFrame:
    return table(texts, source).with_columns(pl.lit(1.0).alias("label"))


def labels(values: dict[str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "question_id": [question_id(text) for text in values],
            "value": list(values.values()),
            "rationale": None,
            "error": [None if value is not None else "refused" for value in values.values()],
        },
        schema=dict(LABELS),
    )


class Folder:
    """Writes inputs, runs a selection and reads its outputs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> Path:
        write_table(frame, self.path / name, schema)
        return self.path / name

    def select(
        self,
        frame: pl.DataFrame,
        values: pl.DataFrame | None,
        keep: float | None,
        seed: int = 1,
        counted: Counted = "rows",
    ) -> pl.DataFrame:
        questions = self.write("q.parquet", frame, dict(QUESTIONS))
        labels_path = self.write("l.parquet", values, dict(LABELS)) if values is not None else None
        by = "difficulty" if values is not None else "random"
        files = {"output": self.path / "o.parquet", "dropped": self.path / "d.parquet"}
        select(questions, labels_path, by, keep, seed, counted=counted, **files)
        return pl.read_parquet(self.path / "o.parquet")

    def draw(
        self,
        frame: pl.DataFrame,
        count: int | None,
        seed: int = 1,
        fill: bool = False,
        may_be_short: bool = False,
        before: Sequence[tuple[str, Sequence[Path]]] = (),
    ) -> pl.DataFrame:
        questions = self.write("q.parquet", frame, dict(LABELLED))
        files = {"output": self.path / "o.parquet", "dropped": self.path / "d.parquet"}
        draw(questions, count, seed, **files, fill=fill, may_be_short=may_be_short, before=before)
        return pl.read_parquet(self.path / "o.parquet")

    def mix(self, frames: list[pl.DataFrame], seed: int = 1) -> pl.DataFrame:
        paths = [self.write(f"m{place}.parquet", frame, dict(LABELLED)) for place, frame in enumerate(frames)]
        mix(paths, seed, output=self.path / "o.parquet")
        return pl.read_parquet(self.path / "o.parquet")

    @property
    def dropped(self) -> pl.DataFrame:
        return pl.read_parquet(self.path / "d.parquet")

    @property
    def bytes(self) -> bytes:
        return (self.path / "o.parquet").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
    order = list(range(frame.height))
    random.Random(7).shuffle(order)
    return frame[order]


TEXTS = [f"Question number {number}?" for number in range(40)]


class TestSelect:
    def test_the_highest_labels_are_kept_best_first(self, folder: Folder) -> None:
        kept = folder.select(table(list("abcd")), labels({"a": 1, "b": 9, "c": 5, "d": 7}), 3)
        assert kept["question"].to_list() == ["b", "d", "c"]
        assert kept["label"].to_list() == [9, 7, 5]
        assert kept.columns == list(LABELLED)
        assert folder.dropped.select("question_id", "stage", "label").rows() == [
            (question_id("a"), "select_questions", 1)
        ]

    def test_ties_do_not_depend_on_the_order_of_the_rows(self, folder: Folder) -> None:
        values = labels(dict.fromkeys(TEXTS, 5.0))
        first = folder.select(table(TEXTS), values, 10)
        whole = folder.bytes
        folder.select(shuffled(table(TEXTS)), shuffled(values), 10)
        assert folder.bytes == whole
        assert not folder.select(table(TEXTS), values, 10, seed=2).equals(first)

    def test_keeping_more_keeps_what_was_kept(self, folder: Folder) -> None:
        for values in (None, labels({text: float(number % 3) for number, text in enumerate(TEXTS)})):
            few, many = (folder.select(table(TEXTS), values, keep) for keep in (10, 25))
            assert many.head(10).equals(few)

    def test_questions_without_a_label_come_last_and_say_why(self, folder: Folder) -> None:
        values = labels({"a": None, "b": 2, "c": None})
        assert folder.select(table(list("abc")), values, None)["question"][0] == "b"
        folder.select(table(list("abcd")), values, 1)
        reasons = {row["question_id"]: (row["reason"], row["error"]) for row in folder.dropped.to_dicts()}
        assert reasons[question_id("a")] == ("no label", "refused")
        assert reasons[question_id("d")] == ("no label", None)

    def test_rows_of_one_question_share_its_label_and_stay_apart(self, folder: Folder) -> None:
        kept = folder.select(table(["a", "b", "a"]), labels({"a": 9, "b": 1}), 2)
        assert kept.select("question", "source_row", "label").sort("source_row").rows() == [
            ("a", "0", 9),
            ("a", "2", 9),
        ]

    def test_where_questions_are_counted_every_row_of_a_question_that_is_kept_stays(self, folder: Folder) -> None:
        texts = ["a"] * 5 + ["b"] * 3 + ["c"] + ["d"] * 2
        values = labels({"a": 1, "b": 9, "c": 5, "d": 7})
        kept = folder.select(table(texts), values, 2, counted="questions")
        assert kept["question"].to_list() == ["b"] * 3 + ["d"] * 2
        assert folder.dropped.height + kept.height == len(texts)
        assert set(folder.dropped["reason"]) == {"not among the 2 kept by difficulty"}
        half = folder.select(table(texts), values, 0.5, counted="questions")
        assert half.equals(kept), "a fraction is one of the different questions"

    def test_counting_questions_changes_nothing_where_none_is_there_twice(self, folder: Folder) -> None:
        for values in (None, labels({text: float(number % 3) for number, text in enumerate(TEXTS)})):
            for keep in (10, 0.4, None):
                rows = folder.select(table(TEXTS), values, keep)
                whole = folder.bytes
                assert folder.select(table(TEXTS), values, keep, counted="questions").equals(rows)
                assert folder.bytes == whole

    def test_a_question_of_many_rows_is_as_likely_as_one_of_a_single_row(self, folder: Folder) -> None:
        often, once = [f"Often {number}?" for number in range(500)], [f"Once {number}?" for number in range(500)]
        kept = folder.select(table(often * 9 + once), None, 500, counted="questions")
        counts = kept.group_by("question_id").len()["len"].to_list()
        assert len(counts) == 500
        assert set(counts) == {1, 9}
        assert 200 < counts.count(9) < 300

    def test_keeping_more_questions_keeps_what_was_kept_whatever_the_order_of_the_rows(self, folder: Folder) -> None:
        frame = table([text for number, text in enumerate(TEXTS) for _ in range(number % 4 + 1)])
        for values in (None, labels({text: float(number % 3) for number, text in enumerate(TEXTS)})):
            few, many = (folder.select(frame, values, keep, counted="questions") for keep in (10, 25))
            assert few["question_id"].n_unique() == 10
            assert many.head(few.height).equals(few)
            assert folder.select(shuffled(frame), values, 25, counted="questions").equals(many)

    def test_fewer_questions_than_are_wanted_are_said(self, folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
        assert folder.select(table(["a", "a", "b"]), None, 3, counted="questions").height == 3
        assert "3 questions are wanted, 2 are there" in caplog.text

    def test_nothing_to_select_from(self, folder: Folder) -> None:
        with pytest.raises(UserError, match="has no rows to select from"):
            folder.select(table([]), None, 1)
        with pytest.raises(UserError, match=r"no question of .* has a label"):
            folder.select(table(["a"]), labels({"a": None}), 1)


class TestMix:
    def test_every_row_is_there_and_the_order_is_the_rows_own(self, folder: Folder) -> None:
        one, two = labelled(TEXTS[:20], "one"), labelled(TEXTS[15:], "two")
        mixed = folder.mix([one, two])
        whole = folder.bytes
        assert mixed.height == 45
        assert folder.mix([shuffled(two), shuffled(one)]).equals(mixed)
        assert folder.bytes == whole
        assert mixed["source"].to_list() != sorted(mixed["source"])
        alone = folder.mix([one])
        assert mixed.filter(pl.col("source") == "one").equals(alone)

    def test_a_source_mixed_with_itself(self, folder: Folder) -> None:
        with pytest.raises(UserError, match="mixed with itself"):
            folder.mix([labelled(["a"]), labelled(["a"])])


class TestDraw:
    def test_a_larger_draw_begins_with_the_smaller(self, folder: Folder) -> None:
        few, many = (folder.draw(labelled(TEXTS * 2), count) for count in (10, 30))
        assert few.columns == list(DRAWN)
        assert many.head(10).equals(few)

    def test_another_source_keeps_the_overlap(self, folder: Folder) -> None:
        one, two = labelled(TEXTS, "one"), labelled([f"Other {text}" for text in TEXTS], "two")
        alone, both = folder.draw(one, 20), folder.draw(pl.concat([one, two]), 20)
        kept = both.filter(pl.col("source") == "one")
        assert set(kept["question_id"]) <= set(alone["question_id"])
        assert alone.head(kept.height).equals(kept)

    def test_the_order_of_the_rows_does_not_matter(self, folder: Folder) -> None:
        folder.draw(labelled(TEXTS), 12)
        whole = folder.bytes
        folder.draw(shuffled(labelled(TEXTS)), 12)
        assert folder.bytes == whole

    def test_draws_of_other_seeds_differ(self, folder: Folder) -> None:
        draws = [set(folder.draw(labelled(TEXTS), 10, seed)["question_id"]) for seed in range(4)]
        assert len({frozenset(one) for one in draws}) == 4

    def test_occurrences_number_the_drawn_rows_of_a_question(self, folder: Folder) -> None:
        drawn = folder.draw(labelled(["a"] * 5 + ["b"] * 2 + ["c"]), 6)
        for _, rows in drawn.group_by("question_id"):
            assert rows["occurrence"].to_list() == list(range(rows.height))
        assert drawn.select("source", "source_row").is_unique().all()
        assert folder.dropped.height == 2

    def test_repeated_questions_are_as_likely_as_their_rows(self, folder: Folder) -> None:
        frame = labelled(
            [f"Question {number % 500}?" for number in range(1000)] + [f"Single {n}?" for n in range(1000)]
        )
        drawn = folder.draw(frame, 1000)
        assert 400 < drawn.filter(pl.col("question").str.starts_with("Single")).height < 600

    def test_too_few_are_repeated_where_asked(self, folder: Folder) -> None:
        frame = labelled(["a", "a", "b", "c"])
        filled = folder.draw(frame, 10, fill=True)
        assert filled.height == 10
        assert filled.head(4).equals(folder.draw(frame, 4))
        assert filled.select("source", "source_row").is_unique().all()
        assert filled.select("question_id", "occurrence").is_unique().all()
        assert filled["source_row"].to_list()[4:8] == [f"{row}~1" for row in filled["source_row"].to_list()[:4]]
        assert folder.draw(frame, 3, fill=True).equals(folder.draw(frame, 3))

    def test_a_draw_that_comes_out_short_fails_and_writes_nothing(self, folder: Folder) -> None:
        with pytest.raises(UserError, match=r"5 rows are wanted and 2 are there, 3 are missing\. Keep more") as raised:
            folder.draw(labelled(["a", "b"]), 5)
        assert "`short: allowed`" in str(raised.value)
        assert not (folder.path / "o.parquet").exists()
        assert folder.draw(labelled(["a", "b"]), 2).height == 2

    def test_it_says_which_stage_took_them(self, folder: Folder) -> None:
        for name, texts, reasons in (
            ("source", ["a"] * 4 + ["b"] * 3 + ["c", "d"], None),
            ("selected", ["a"] * 4 + ["b"] * 3, ["label below 2", "no label"]),
            ("deduplicated", ["a", "b"], ["exact"] * 5),
        ):
            (folder.path / name).mkdir()
            folder.write(f"{name}/questions.parquet", table(texts), dict(QUESTIONS))
            if reasons is not None:
                gone = table([f"{number}" for number in range(len(reasons))]).with_columns(
                    stage=pl.lit(name), reason=pl.Series(reasons)
                )
                folder.write(f"{name}/dropped.parquet", gone, dict(DROPPED))
        names = ("source", "selected", "deduplicated")
        before = [(name, [folder.path / name / "questions.parquet"]) for name in names]
        with pytest.raises(UserError) as raised:
            folder.draw(labelled(["a", "b"]), 4, before=before)
        assert "2 are missing. 9 rows of 4 different questions were read; " in str(raised.value)
        assert "`selected` dropped 2 rows (2 questions): 1 label below 2, 1 no label; " in str(raised.value)
        assert "`deduplicated` dropped 5 rows (0 questions): 5 exact. " in str(raised.value)
        (folder.path / "selected/questions.parquet").unlink()
        with pytest.raises(UserError, match=r"2 are missing\. Which stage took them cannot be told, as .*selected"):
            folder.draw(labelled(["a", "b"]), 4, before=before)

    def test_a_short_draw_can_be_allowed(self, folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
        assert folder.draw(labelled(["a", "b"]), 5, may_be_short=True).height == 2
        assert "5 rows are wanted and 2 are there, 3 are missing: all are drawn" in caplog.text

    def test_nothing_to_draw_from(self, folder: Folder) -> None:
        with pytest.raises(UserError, match="has no rows to draw from"):
            folder.draw(labelled([]), 1)


class TestLimitLength:
    def test_long_questions_are_dropped_with_their_tokens(self, folder: Folder) -> None:
        frame = labelled(["one two three", "word " * 50, "four"])
        path = folder.write("q.parquet", frame, dict(LABELLED))
        limit_length(path, "qwen", 10, output=folder.path / "o.parquet", dropped=folder.path / "d.parquet")
        assert pl.read_parquet(folder.path / "o.parquet").equals(frame[[0, 2]])
        assert folder.dropped.select("source_row", "reason").rows() == [("1", "over 10 tokens")]
        assert folder.dropped["tokens"][0] > 40

    def test_exactly_the_limit_is_kept(self, folder: Folder) -> None:
        path = folder.write("q.parquet", labelled(["a b c"]), dict(LABELLED))
        limit_length(path, "qwen", 3, output=folder.path / "o.parquet", dropped=folder.path / "d.parquet")
        assert folder.dropped.height == 0
        with pytest.raises(UserError, match="has at most 2 tokens: raise --max-tokens"):
            limit_length(path, "qwen", 2, output=folder.path / "o.parquet", dropped=folder.path / "d.parquet")


def chosen(folder: Folder, values: dict[str, float | None], keep: float | None, **policy: object) -> list[str]:
    """The questions that a selection by label keeps, best first."""
    questions = folder.write("q.parquet", table(list(values)), dict(QUESTIONS))
    given = folder.write("l.parquet", labels(values), dict(LABELS))
    outputs = {"output": folder.path / "o.parquet", "dropped": folder.path / "d.parquet"}
    select(questions, given, "difficulty", keep, 1, **policy, **outputs)  # type: ignore[arg-type]
    return pl.read_parquet(outputs["output"])["question"].to_list()


VALUES: dict[str, float | None] = {"a": 1.0, "b": 4.0, "c": None, "d": 3.0, "e": 2.0, "f": None}


@pytest.mark.parametrize(
    ("policy", "keep", "kept"),
    [
        ("drop", None, ["b", "d", "e", "a"]),
        ("drop", 5, ["b", "d", "e", "a"]),
        ("last", 5, ["b", "d", "e", "a", {"c", "f"}]),
        ("first", 3, [{"c", "f"}, {"c", "f"}, "b"]),
        ("drop", 0.5, ["b", "d", "e"]),
        ("drop", 0.01, ["b"]),
    ],
)
def test_what_becomes_of_unlabelled_rows_is_said(
    tmp_path: Path, policy: str, keep: float | None, kept: list[str | set[str]]
) -> None:
    folder = Folder(tmp_path)
    found = chosen(folder, VALUES, keep, unlabelled=policy)
    assert len(found) == len(kept)
    assert all(one in either for one, either in zip(found, kept, strict=True))
    reasons = dict(folder.dropped.select("question_id", "reason").iter_rows())
    assert set(reasons) == {question_id(text) for text in VALUES if text not in found}
    assert all((reasons[question_id(text)] == "no label") for text in {"c", "f"} - set(found))


def test_unlabelled_rows_can_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 of 6 rows of .* have no label"):
        chosen(Folder(tmp_path), VALUES, 2, unlabelled="error")
    assert chosen(Folder(tmp_path), {"a": 1.0, "b": 2.0}, 1, unlabelled="error") == ["b"]


def test_a_threshold_stands_beside_a_number_or_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert chosen(folder, VALUES, None, at_least=2.0) == ["b", "d", "e"]
    reasons = dict(folder.dropped.select("question_id", "reason").iter_rows())
    assert reasons[question_id("a")] == "label below 2"
    assert chosen(folder, VALUES, 1, at_least=2.0) == ["b"]
    assert len(chosen(folder, VALUES, None, at_least=2.0, unlabelled="last")) == 5
    with pytest.raises(UserError, match=r"no question of .* has a label of at least 9"):
        chosen(folder, VALUES, None, at_least=9.0)


def test_equal_labels_are_chosen_by_hash_and_one_row_is_enough(tmp_path: Path) -> None:
    equal: dict[str, float | None] = {f"question {number}": 5.0 for number in range(40)}
    folder = Folder(tmp_path)
    few, more = chosen(folder, equal, 10), chosen(folder, equal, 0.5)
    assert more[:10] == few
    assert more != sorted(more)
    assert chosen(folder, dict(reversed(equal.items())), 10) == few
    assert chosen(folder, {"alone": 1.0}, 0.25) == ["alone"]
