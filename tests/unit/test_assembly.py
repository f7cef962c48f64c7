"""The assembled dataset: every answer once, shuffled by its key, beside its question, in little memory."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import answers, drawn, hide_column

from openthoughts.answers import dataset
from openthoughts.answers.consensus import measure_answers
from openthoughts.answers.dataset import DomainPart, assemble, counts_summary, dataset_card
from openthoughts.answers.filtering import filter_answers
from openthoughts.base.cli import UserError
from openthoughts.base.tables import DATASET, MEASURES

MEASURE = {"last_number": True, "programs": True}


def part(folder: Path, domain: str, questions: int, samples: int, by: str = "none", **options: bool) -> DomainPart:
    """A domain of questions whose first text is drawn twice, with filtered answers."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [f"{domain} question {number}" for number in range(questions)]
    given = {text: [f"{domain} {text} is {sample}" for sample in range(samples)] for text in texts}
    given[texts[0]] = [f"again {sample}" for sample in range(2 * samples)]
    drawn_path = drawn(folder / "drawn.parquet", [texts[0], *texts], domain, f"{domain} source", label=4.6)
    answers_path = answers(folder / "answers.parquet", given)
    measured = folder / "measured.parquet"
    measure_answers(drawn_path, answers_path, MEASURE, measured)
    outputs = (folder / "kept.parquet", folder / "dropped.parquet")
    filter_answers(drawn_path, answers_path, by, {}, *outputs, {"measured": measured})
    return DomainPart(domain, drawn_path, folder / "kept.parquet", measured, **options)


def test_every_answer_stands_once_beside_its_question(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts = [part(tmp_path / "m", "math", 5, 2, difficulty=True), part(tmp_path / "s", "science", 3, 4)]
    counts = assemble(parts, 42, tmp_path / "dataset.parquet")
    table = pl.read_parquet(tmp_path / "dataset.parquet")
    assert dict(table.schema) == {**DATASET, **{name: MEASURES[name] for name in dataset.MEASURED_COLUMNS}}
    assert table.height == 6 * 2 + 4 * 4
    assert table.select("domain", "question_id", "sample").is_duplicated().sum() == 0
    for row in table.iter_rows(named=True):
        (human, question), (gpt, answer) = ((turn["from"], turn["value"]) for turn in row["conversations"])
        assert (human, gpt) == ("human", "gpt")
        assert question.startswith(row["domain"])
        assert answer == f"again {row['sample']}" or answer == f"{row['domain']} {question} is {row['sample']}"
        assert row["difficulty"] == (5 if row["domain"] == "math" else None)
    assert counts.select("domain", "source", "questions", "rows").rows() == [
        ("math", "math source", 5, 12),
        ("science", "science source", 3, 16),
    ]
    assert "assembled 28 rows, 28 of them without thinking" in caplog.text


def test_the_hidden_tests_of_the_questions_are_not_loaded(tmp_path: Path) -> None:
    code = part(tmp_path, "code", 3, 2)
    hide_column(code.questions, "metadata")
    assert assemble([code], 42, tmp_path / "dataset.parquet")["rows"].sum() == 8


def test_the_order_is_a_shuffle_that_does_not_depend_on_the_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part(tmp_path / "m", "math", 60, 4), part(tmp_path / "s", "science", 60, 4)]
    assemble(parts, 42, tmp_path / "one.parquet")
    monkeypatch.setattr(dataset, "BUCKET_BYTES", 300)
    assert dataset._bucket_bits([part.answers for part in parts]) >= 4
    assemble(parts, 42, tmp_path / "many.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "many.parquet").read_bytes()
    assemble(parts[::-1], 42, tmp_path / "swapped.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "swapped.parquet").read_bytes()
    assemble(parts, 43, tmp_path / "other.parquet")
    assert (tmp_path / "one.parquet").read_bytes() != (tmp_path / "other.parquet").read_bytes()
    domains = pl.read_parquet(tmp_path / "one.parquet")["domain"].head(100)
    assert 25 <= (domains == "math").sum() <= 75


def test_a_domain_that_changes_leaves_the_order_of_the_others(tmp_path: Path) -> None:
    math, science = part(tmp_path / "m", "math", 30, 2), part(tmp_path / "s", "science", 30, 2)
    assemble([math, science], 42, tmp_path / "both.parquet")
    assemble([math], 42, tmp_path / "one.parquet")
    both = pl.read_parquet(tmp_path / "both.parquet").filter(pl.col("domain") == "math")
    assert both.equals(pl.read_parquet(tmp_path / "one.parquet"))


def test_what_was_measured_of_all_answers_stands_in_the_dataset_whatever_the_filter(tmp_path: Path) -> None:
    parts = [part(tmp_path / "m", "math", 4, 4, by="majority"), part(tmp_path / "s", "science", 4, 4)]
    assemble(parts, 42, tmp_path / "dataset.parquet")
    table = pl.read_parquet(tmp_path / "dataset.parquet")
    columns = ("majority_answer", "agreement", "ties", "pass_rate", "difficulty_from_answers", "truncated")
    for domain, rows in (("math", 4), ("science", 5 * 4)):
        own = table.filter(pl.col("domain") == domain)
        assert own.height == rows
        assert own.select(columns).unique().sort("agreement").rows() == [
            ("0", 0.125, 8, None, 0.875, False),
            ("0", 0.25, 4, None, 0.75, False),
        ]


def test_nothing_to_assemble_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    drawn_path = drawn(tmp_path / "drawn.parquet", ["q"])
    filter_answers(
        drawn_path, answers(tmp_path / "a.parquet", {"q": [None]}), "none", {}, tmp_path / "k.parquet", tmp_path / "d"
    )
    measure_answers(drawn_path, tmp_path / "a.parquet", MEASURE, tmp_path / "m.parquet")
    with pytest.raises(UserError, match="no answer is left"):
        nothing = DomainPart("math", drawn_path, tmp_path / "k.parquet", tmp_path / "m.parquet")
        assemble([nothing], 1, tmp_path / "out" / "dataset.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    one = part(tmp_path / "m", "math", 3, 2)
    other = drawn(tmp_path / "other.parquet", ["something else"])
    with pytest.raises(UserError, match="filter them again"):
        assemble([DomainPart("math", other, one.answers, one.measured)], 1, tmp_path / "dataset.parquet")


COUNTS = pl.DataFrame(
    {
        "domain": ["code", "math", "math"],
        "source": ["golf", "a", "b"],
        "questions": [2, 3, 4],
        "rows": [20, 30, 1400],
        "tokens": [200, 300, 400],
        "truncated": [0, 1, 2],
    }
)


def test_counts_add_up_and_carry_licences() -> None:
    summary = counts_summary(COUNTS, {"golf": "CC-BY-SA-4.0"})
    assert (summary["rows"], summary["tokens"], summary["truncated"]) == (1450, 900, 3)
    assert summary["domains"]["math"]["rows"] == 1430
    assert summary["domains"]["code"]["sources"]["golf"]["licence"] == "CC-BY-SA-4.0"
    assert summary["domains"]["math"]["sources"]["a"]["licence"] is None


def test_the_card_says_what_the_hub_asks_for() -> None:
    import yaml

    card = dataset_card("my recipe", COUNTS, {"golf": "MIT", "a": "Apache-2.0"})
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "other"
    assert front["size_categories"] == ["1K<n<10K"]
    assert front["tags"] == ["reasoning", "code", "math"]
    assert "| math | b | unknown | 4 | 1,400 | 400 | 2 |" in card
    assert yaml.safe_load(dataset_card("r", COUNTS.head(1), {"golf": "MIT"}).split("---")[1])["license"] == "mit"
