"""Each filter of answers: what it keeps, what it drops, and that neither order nor pieces matter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.answer_tables import answers, completion, drawn, hide_column

from openthoughts.answers import filters
from openthoughts.answers.consensus import measure_answers
from openthoughts.answers.filtering import filter_answers
from openthoughts.answers.filters import FILTERS, AnswerFilter, configured_filter
from openthoughts.base import streams
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.base.options import problems
from openthoughts.base.tables import ASSESSMENTS, COMPLETIONS, DRAWN, MEASURES, write_table
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.recipe_problems import example_problems
from openthoughts.plan.settings.answers import Answers, Filter, Measure
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.settings.questions import Select
from openthoughts.report.reference import json_schema

ROOT = Path(__file__).resolve().parents[2]

NEEDED: dict[str, dict[str, Any]] = {
    **{name: {"keep": 10} for name in ("random", "shortest", "longest")},
    "short_paragraphs": {"max_characters": 8},
    "columns": {"where": {"agreement": [0.3, None]}},
    "fasttext": {"keep": 10},
}
"""The options that a filter cannot do without."""

ONE = "What is a half?"
TWO = "What is two?"


def evidence(folder: Path, questions: Path, given: Path) -> dict[str, Path]:
    """What filters look at beside the answers: measures, and made-up assessments (the longer, the better)."""
    measure_answers(questions, given, {"last_number": True, "programs": True}, folder / "measured.parquet")
    came = pl.read_parquet(given).filter(pl.col("text").is_not_null()).sort("question_id", "sample")
    value = (pl.col("text").str.len_chars() / 30).clip(0, 1)
    nothing = pl.lit(None, pl.String)
    assessed = came.select("question_id", "sample", value=value, rationale=nothing, error=nothing)
    write_table(assessed, folder / "assessed.parquet", ASSESSMENTS)
    return {"measured": folder / "measured.parquet", "assessed": folder / "assessed.parquet"}


def kept(
    folder: Path, texts: Mapping[str, Sequence[str | None]], name: str, **options: Any
) -> tuple[list[tuple[str, int]], pl.DataFrame, pl.DataFrame]:
    """The (question, sample) pairs that a filter keeps, and its two tables."""
    questions = drawn(folder / "drawn.parquet", list(texts))
    given = answers(folder / "answers.parquet", texts)
    beside = evidence(folder, questions, given)
    filter_answers(questions, given, name, options, folder / "kept.parquet", folder / "dropped.parquet", beside)
    output, dropped = pl.read_parquet(folder / "kept.parquet"), pl.read_parquet(folder / "dropped.parquet")
    texts_of = {question_id(text): text for text in texts}
    pairs = sorted(
        (texts_of[question], sample) for question, sample in output.select("question_id", "sample").iter_rows()
    )
    return pairs, output, dropped


def test_none_keeps_everything_but_failed_completions_and_empty_answers(tmp_path: Path) -> None:
    pairs, _, dropped = kept(tmp_path, {ONE: ["a", None], TWO: ["", "b"]}, "none")
    assert pairs == [(ONE, 0), (TWO, 1)]
    assert sorted(dropped.select("stage", "reason", "sample").rows()) == [
        ("filter_answers", "empty answer", 0),
        ("filter_answers", "failed: refused by the content filter", 1),
    ]


def test_majority_is_by_mathematics_and_says_why_it_drops(tmp_path: Path) -> None:
    texts = {
        ONE: [r"\boxed{1/2}", "The answer is 0.5.", r"\boxed{\frac12}", r"\boxed{2}", "<think> I wonder", None],
        TWO: ["The answer is 2", "it is 3", "so 2 in all", "who knows", "x", None],
    }
    pairs, _, dropped = kept(tmp_path, texts, "majority")
    assert pairs == [(ONE, 0), (ONE, 1), (ONE, 2), (TWO, 0), (TWO, 2)]
    assert sorted(dropped["reason"].to_list()) == [
        "empty answer",
        "failed: refused by the content filter",
        "failed: refused by the content filter",
        "no final answer",
        "no final answer",
        "not the majority answer: 2",
        "not the majority answer: 3",
    ]


NOTATIONS: list[tuple[list[str], list[int]]] = [
    # sixteen answers in different notations, and who is in the majority
    (["1/2", r"\frac{1}{2}", "0.5", r"\dfrac12", "50\\%", *["1/3"] * 3, *["2"] * 4, *["0.3333"] * 4], [0, 1, 2, 3, 4]),
    ([r"(1, 2)", r"(1,2)", r"\left(1,2\right)", *["(2,1)"] * 2, *[f"({n},{n})" for n in range(3, 14)]], [0, 1, 2]),
    ([r"\{1,2,3\}", r"\{3,2,1\}", r"\{2, 1, 3\}", *[r"\{1,2\}"] * 2, *[rf"\{{{n}\}}" for n in range(11)]], [0, 1, 2]),
    (["10", r"10\text{ cm}", "10.0", r"10 \mathrm{cm}", *["100"] * 3, *[str(n) for n in range(20, 29)]], [0, 1, 2, 3]),
    (["x^2-1", "(x-1)(x+1)", "-1+x^2", *["x^2+1"] * 2, *[f"x+{n}" for n in range(1, 12)]], [0, 1, 2]),
]


@pytest.mark.parametrize("case", range(len(NOTATIONS)))
def test_majority_of_sixteen_notations(tmp_path: Path, case: int) -> None:
    notations, winners = NOTATIONS[case]
    assert len(notations) == 16
    texts = {ONE: [rf"\boxed{{{notation}}}" for notation in notations]}
    pairs, _, _ = kept(tmp_path, texts, "majority")
    assert [sample for _, sample in pairs] == winners


def test_a_tie_goes_to_the_first_answer_or_drops_the_question(tmp_path: Path) -> None:
    texts = {ONE: [r"\boxed{3}", r"\boxed{4}", r"\boxed{4}", r"\boxed{3}"]}
    assert kept(tmp_path, texts, "majority")[0] == [(ONE, 0), (ONE, 3)]
    pairs, _, dropped = kept(tmp_path, texts, "majority", ties="drop")
    assert pairs == []
    assert set(dropped["reason"]) == {"tie of 2 answers"}


def test_a_majority_can_be_asked_to_be_large(tmp_path: Path) -> None:
    texts = {ONE: [r"\boxed{3}", r"\boxed{3}", r"\boxed{4}", r"\boxed{5}"]}
    assert kept(tmp_path, texts, "majority", min_agreement=0.5)[0] == [(ONE, 0), (ONE, 1)]
    assert kept(tmp_path, texts, "majority", min_agreement=0.51)[0] == []


def test_repeats_of_a_question_vote_together(tmp_path: Path) -> None:
    questions = drawn(tmp_path / "drawn.parquet", [ONE, ONE])
    given = answers(tmp_path / "answers.parquet", {ONE: [r"\boxed{3}", r"\boxed{4}", r"\boxed{4}", r"\boxed{4}"]})
    outputs = (tmp_path / "kept.parquet", tmp_path / "dropped.parquet")
    filter_answers(questions, given, "majority", {}, *outputs, evidence(tmp_path, questions, given))
    table = pl.read_parquet(tmp_path / "kept.parquet")
    assert table.select("sample", "occurrence").rows() == [(1, 0), (2, 1), (3, 1)]
    assert pl.read_parquet(tmp_path / "dropped.parquet").select("sample", "source_row").rows() == [(0, "0")]


def test_lengths_keep_the_longest_or_shortest_of_each_question(tmp_path: Path) -> None:
    texts = {ONE: ["aaa", "a", "aa"], TWO: ["bb", "bb", "bbbb"]}
    assert kept(tmp_path, texts, "longest", keep_per_question=1)[0] == [(ONE, 0), (TWO, 2)]
    assert kept(tmp_path, texts, "shortest", keep_per_question=2)[0] == [(ONE, 1), (ONE, 2), (TWO, 0), (TWO, 1)]
    assert kept(tmp_path, texts, "longest", keep=1)[0] == [(TWO, 2)]
    assert kept(tmp_path, texts, "shortest", keep=3, keep_per_question=1)[0] == [(ONE, 1), (TWO, 0)]
    assert kept(tmp_path, texts, "longest", keep_per_question=1, unit="characters")[0] == [(ONE, 0), (TWO, 2)]


def test_random_is_a_draw_that_grows(tmp_path: Path) -> None:
    texts = {f"question {number}": ["a", "b", "c", "d"] for number in range(50)}
    few = kept(tmp_path, texts, "random", keep=20)[0]
    many = kept(tmp_path, texts, "random", keep=40)[0]
    other = kept(tmp_path, texts, "random", keep=20, seed=7)[0]
    assert len(few) == 20
    assert set(few) < set(many)
    assert set(few) != set(other)
    one_each = kept(tmp_path, texts, "random", keep_per_question=1)[0]
    assert sorted(question for question, _ in one_each) == sorted(texts)


def test_cut_answers_are_dropped(tmp_path: Path) -> None:
    questions = drawn(tmp_path / "drawn.parquet", [ONE])
    rows = [completion(ONE, 0, "whole"), completion(ONE, 1, "cut o", finish_reason="length")]
    write_table(pl.DataFrame(rows, schema=dict(COMPLETIONS)), tmp_path / "a.parquet", COMPLETIONS)
    filter_answers(questions, tmp_path / "a.parquet", "complete", {}, tmp_path / "k.parquet", tmp_path / "d.parquet")
    assert pl.read_parquet(tmp_path / "k.parquet")["text"].to_list() == ["whole"]
    assert pl.read_parquet(tmp_path / "d.parquet")["reason"].to_list() == ["cut by the token limit"]


def test_long_paragraphs_are_dropped(tmp_path: Path) -> None:
    texts = {ONE: ["short\n\nshort again", "a\n \n" + "b" * 21, "c" * 20, "d"]}
    pairs, _, dropped = kept(tmp_path, texts, "short_paragraphs", max_characters=20)
    assert [sample for _, sample in pairs] == [0, 2, 3]
    assert dropped["reason"].to_list() == ["a paragraph of 21 characters"]


def test_python_only(tmp_path: Path) -> None:
    texts = {
        ONE: [
            "```python\nx\n```",
            "```cpp\nx\n```\nor\n```python\nx\n```",
            "no code",
            "a\n  ```Py\nx\n```\n```\noutput\n```",
            "```\nplain\n```",
        ]
    }
    pairs, _, dropped = kept(tmp_path, texts, "python")
    assert [sample for _, sample in pairs] == [0, 3]
    assert dropped["reason"].to_list() == ["code in cpp", "no Python code", "no Python code"]


@pytest.mark.slow
def test_answers_are_checked_against_the_reference_by_mathematics(tmp_path: Path) -> None:
    texts = {
        ONE: [r"\boxed{\frac12}", "the answer is 0.5.", r"\boxed{x}", "hm", r"\boxed{9^{9^{9^9}}}"],
        TWO: ["2"] * 5,
    }
    questions = drawn(tmp_path / "drawn.parquet", [ONE, TWO])
    table = pl.read_parquet(questions).with_columns(
        reference_answer=pl.when(pl.col("question") == ONE).then(pl.lit("1/2"))
    )
    write_table(table, questions, DRAWN)
    given = answers(tmp_path / "a.parquet", texts)
    filter_answers(questions, given, "reference", {}, tmp_path / "k.parquet", tmp_path / "d.parquet")
    assert pl.read_parquet(tmp_path / "k.parquet")["sample"].to_list() == [0, 1]
    dropped = pl.read_parquet(tmp_path / "d.parquet")
    reasons = dropped.filter(pl.col("question_id") == question_id(ONE)).sort("sample")["reason"].to_list()
    assert reasons == [
        "not the reference answer: x",
        "no final answer",
        "not known whether 9^{9^{9^9}} equals the reference",
    ]
    assert set(dropped.filter(pl.col("question_id") == question_id(TWO))["reason"]) == {"no reference answer"}


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_neither_the_order_of_rows_nor_the_pieces_read_matter(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {f"question {number}": [f"it is {number}", "so 7", f"is {number}.", "I guess 7"] for number in range(12)}
    questions = drawn(tmp_path / "drawn.parquet", list(texts))
    given = answers(tmp_path / "answers.parquet", texts)
    shuffled = tmp_path / "shuffled.parquet"
    write_table(pl.read_parquet(given).sample(fraction=1, shuffle=True, seed=3), shuffled, COMPLETIONS)
    options = NEEDED.get(name, {})
    beside = evidence(tmp_path, questions, given)
    filter_answers(questions, given, name, options, tmp_path / "1.parquet", tmp_path / "2.parquet", beside)
    disordered = evidence(tmp_path, questions, shuffled)
    filter_answers(questions, shuffled, name, options, tmp_path / "3.parquet", tmp_path / "4.parquet", disordered)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "3.parquet").read_bytes()
    assert (tmp_path / "2.parquet").read_bytes() == (tmp_path / "4.parquet").read_bytes()
    monkeypatch.setattr(streams.read_batches, "__defaults__", (None, 5))
    beside = evidence(tmp_path, questions, given)
    filter_answers(questions, given, name, options, tmp_path / "5.parquet", tmp_path / "6.parquet", beside)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "5.parquet").read_bytes()


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_no_answers_and_only_failed_answers_give_empty_tables(tmp_path: Path, name: str) -> None:
    options = NEEDED.get(name, {})
    for texts in ({}, {ONE: [None, None]}):
        pairs, output, dropped = kept(tmp_path, texts, name, **options)
        assert pairs == []
        assert "occurrence" in output.columns
        assert dropped.height == 2 * len(texts)


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_one_answer_and_equal_answers(tmp_path: Path, name: str) -> None:
    """One answer is kept or dropped for its own sake; of equal ones with equal lengths the choice is still one."""
    text = "```python\nprint(7)\n```\n\nThe answer is 7."
    options = {**NEEDED.get(name, {}), **({"max_characters": 500} if name == "short_paragraphs" else {})}
    alone = kept(tmp_path, {ONE: [text]}, name, **options)[0]
    assert alone == ([] if name == "reference" else [(ONE, 0)])
    pairs, output, dropped = kept(tmp_path, {ONE: [text] * 16}, name, **{**options, "keep": 10})
    assert len(pairs) == (0 if name == "reference" else 10)
    assert output.height + dropped.height == 16


@pytest.mark.parametrize("name", sorted(set(FILTERS) - {"reference"}))
def test_every_filter_keeps_so_many_in_all_and_of_each_question(tmp_path: Path, name: str) -> None:
    text = "```python\nprint(7)\n```\n\nThe answer is 7."
    texts = {f"question {number}": [text] * 4 for number in range(6)}
    options = {**NEEDED.get(name, {}), **({"max_characters": 500} if name == "short_paragraphs" else {})}
    options.pop("keep", None)
    few, many = (kept(tmp_path, texts, name, **options, keep=count)[0] for count in (5, 9))
    assert (len(few), len(many)) == (5, 9)
    assert set(few) < set(many), "keeping more keeps what was kept"
    one_each = kept(tmp_path, texts, name, **options, keep_per_question=1)[0]
    assert sorted(question for question, _ in one_each) == sorted(texts)
    both = kept(tmp_path, texts, name, **options, keep_per_question=2, keep=7)[0]
    assert len(both) == 7
    assert max(sum(question == each for question, _ in both) for each in texts) <= 2


def test_measured_columns_are_asked_for_values_and_ranges(tmp_path: Path) -> None:
    texts = {
        "settled": [r"\boxed{3}"] * 4,
        "open": [r"\boxed{3}", r"\boxed{3}", r"\boxed{4}", r"\boxed{5}"],
        "tied": [r"\boxed{3}", r"\boxed{4}", r"\boxed{3}", r"\boxed{4}"],
        "silent": ["I do not know", "what?", "hm", "well"],
    }

    def questions(where: dict[str, Any], **options: Any) -> set[str]:
        return {question for question, _ in kept(tmp_path, texts, "columns", where=where, **options)[0]}

    assert questions({"agreement": [0.5, 0.9]}) == {"open", "tied"}
    assert questions({"agreement": [None, 0.5], "ties": 1}) == {"open"}
    assert questions({"agreement": [0.9, None]}) == {"settled"}
    assert questions({"agreement": [0.9, None]}, nulls="keep") == {"settled", "silent"}
    assert questions({"in_majority": True, "ties": [2, None]}) == {"tied"}
    pairs, _, dropped = kept(tmp_path, texts, "columns", where={"in_majority": False, "truncated": False})
    assert pairs == [("open", 2), ("open", 3), ("tied", 1), ("tied", 3)]
    assert set(dropped["reason"]) == {"in_majority true", "no in_majority"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give where"),
        ({"where": {"agrement": 1}}, r"no column 'agrement' \(did you mean agreement\?\)"),
        ({"where": {"agreement": [1]}}, r"give a value, or a range \[least, most\]"),
        ({"where": {"agreement": "high"}}, "give a value, or a range"),
        ({"where": {"agreement": [None, None]}}, "give a value, or a range"),
        ({"where": {"ties": 1}, "nulls": "maybe"}, "is not one of the choices"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kept(tmp_path, {ONE: ["1"]}, "columns", **options)


def test_scores_rank_have_a_threshold_and_may_be_missing(tmp_path: Path) -> None:
    questions = drawn(tmp_path / "drawn.parquet", [ONE])
    given = answers(tmp_path / "answers.parquet", {ONE: ["a", "b", "c", "d"]})
    scores: list[float | None] = [0.2, None, 0.9, 0.6]
    judged = pl.read_parquet(given).sort("sample").select("question_id", "sample", rationale=pl.lit(None, pl.String))
    error = pl.Series("error", [None, "no word to score", None, None], dtype=pl.String)
    write_table(judged.with_columns(pl.Series("value", scores), error), tmp_path / "j.parquet", ASSESSMENTS)
    outputs = (tmp_path / "k.parquet", tmp_path / "d.parquet")

    def kept_samples(**options: Any) -> list[int]:
        filter_answers(questions, given, "fasttext", options, *outputs, {"assessed": tmp_path / "j.parquet"})
        return pl.read_parquet(outputs[0])["sample"].to_list()

    assert kept_samples(keep=2) == [2, 3]
    assert kept_samples(at_least=0.1) == [0, 2, 3]
    assert pl.read_parquet(outputs[1])["reason"].to_list() == ["not assessed: no word to score"]
    assert kept_samples(at_least=0.5, keep=1) == [2]
    assert kept_samples(keep=4, unlabelled="keep") == [0, 1, 2, 3]
    assert kept_samples(keep=3, unlabelled="keep") == [0, 2, 3], "what has no score comes last"
    with pytest.raises(UserError, match="keep_per_question or at_least"):
        kept_samples()
    with pytest.raises(UserError, match="is not one of the choices"):
        kept_samples(keep=1, unlabelled="last")
    with pytest.raises(UserError, match="'fasttext' needs --assessed"):
        filter_answers(questions, given, "fasttext", {"keep": 1}, *outputs)


def test_a_majority_of_which_it_is_not_known_says_so(tmp_path: Path) -> None:
    questions = drawn(tmp_path / "drawn.parquet", [ONE])
    given = answers(tmp_path / "answers.parquet", {ONE: ["a", "b", "c"]})
    row = {name: [None] * 3 for name in MEASURES} | {
        "question_id": [question_id(ONE)] * 3, "sample": [0, 1, 2], "answer": ["1", "x", None],
        "in_majority": [True, None, None], "agreement": [0.5] * 3, "ties": [1] * 3,
    }  # fmt: skip
    write_table(pl.DataFrame(row, schema=dict(MEASURES)), tmp_path / "m.parquet", MEASURES)
    outputs = (tmp_path / "k.parquet", tmp_path / "d.parquet")
    filter_answers(questions, given, "majority", {}, *outputs, {"measured": tmp_path / "m.parquet"})
    assert pl.read_parquet(outputs[1])["reason"].to_list() == [
        "not known whether it is the majority answer: x",
        "no final answer",
    ]


def test_answers_that_do_not_fit_the_questions_are_refused(tmp_path: Path) -> None:
    questions = drawn(tmp_path / "drawn.parquet", [ONE, TWO])
    uneven = answers(tmp_path / "uneven.parquet", {ONE: ["a", "b"], TWO: ["c"]})
    strange = answers(tmp_path / "strange.parquet", {ONE: ["a"], "Who?": ["c"]})
    outputs = (tmp_path / "o.parquet", tmp_path / "d.parquet")
    with pytest.raises(UserError, match="3 answers for 2 drawn questions"):
        filter_answers(questions, uneven, "none", {}, *outputs)
    with pytest.raises(UserError, match="which was not drawn"):
        filter_answers(questions, strange, "none", {}, *outputs)
    assert not outputs[0].exists()


def test_the_hidden_tests_of_the_questions_are_not_loaded(tmp_path: Path) -> None:
    questions = drawn(tmp_path / "drawn.parquet", [ONE])
    hide_column(questions, "metadata")
    given = answers(tmp_path / "answers.parquet", {ONE: ["1", "2"]})
    outputs = (tmp_path / "kept.parquet", tmp_path / "dropped.parquet")
    assert filter_answers(questions, given, "none", {}, *outputs) == (2, 0)


def test_unknown_filters_and_options_name_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no answer filter 'longst' \(did you mean longest\?\)"):
        configured_filter("longst", {})
    with pytest.raises(UserError, match=r"'longest': options: unknown key 'kep' \(did you mean keep\?\)"):
        configured_filter("longest", {"kep": 1})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("longest", {}, "options: give keep or keep_per_question"),
        ("longest", {"keep": 0}, "options.keep: 0 is less than or equal to the minimum of 0"),
        (
            "longest",
            {"keep": 1, "unit": "words"},
            r"options.unit: 'words' is not one of the choices \(known: characters, tokens\)",
        ),
        ("majority", {"ties": "both"}, "options.ties: 'both' is not one of the choices"),
        ("short_paragraphs", {"max_characters": 2.5}, "options.max_characters: 2.5 should be of type integer"),
        ("language", {"language": False}, "options.language: false should be of type string"),
        ("fasttext", {}, "give keep or keep_per_question or at_least"),
        ("majority", {"min_agreement": "high"}, "options.min_agreement: 'high' should be of type number"),
        ("short_paragraphs", {}, "options: give max_characters"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kept(tmp_path, {ONE: ["1", "2"]}, name, **options)


def test_the_filter_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "extending" / "filter.md").read_text(encoding="utf-8")
    (tmp_path / "added").mkdir()
    (tmp_path / "added/wordy.py").write_text(page.split("```python\n")[1].split("```")[0])
    monkeypatch.setattr(filters, "__path__", [*filters.__path__, str(tmp_path / "added")])
    texts = {ONE: ["one two three", "one", "two", None]}
    pairs, _, dropped = kept(tmp_path, texts, "wordy", at_least=2)
    assert pairs == [(ONE, 0)]
    assert dropped.sort("sample")["reason"].to_list()[:2] == ["too few words"] * 2


def test_the_configuration_and_the_documentation_know_every_filter() -> None:
    listed = json_schema(Configuration)["$defs"]["filter"]["properties"]["by"]["enum"]
    assert sorted(listed) == sorted(FILTERS)
    page = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8").split("## Filters of answers")[1]
    for name, chosen in FILTERS.items():
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        options = set(chosen.model_fields) - set(AnswerFilter.model_fields)
        assert all(f"`{option}`" in row for option in options) or "as `shortest`" in row


def test_the_examples_of_the_documentation_are_valid() -> None:
    page = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    catalog = read_catalog([ROOT / "catalog"])
    models: dict[str, type[Any]] = {"select": Select, "filter": Filter, "answers": Answers, "measure": Measure}
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(examples) == 4
    for example in examples:
        for section, settings in example.items():
            assert problems(models[section], settings) == []
            if section in ("select", "filter") and "examples" in settings:
                assert example_problems("here", models[section].model_validate(settings), catalog) == []
            if section == "filter":
                keep = {name: settings[name] for name in ("keep",) if name in settings}
                configured_filter(settings["by"], {**settings.get("options", {}), **keep})
