"""What counts as a question: expected numbers of rows and of different questions, and numbers that cannot be met."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openthoughts.costs.estimates import estimate_stage
from openthoughts.plan import arguments
from openthoughts.plan.catalog import Catalog
from openthoughts.plan.config import ConfigurationError, with_setting
from openthoughts.plan.count_problems import most_of
from openthoughts.plan.expectations import Counts, counts_of, expected
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan, Stage

REPEATED = {"connector": "hub", "domain": "math", "dataset": "a/b", "column": "q", "rows": 1_900, "questions": 100}
PLAIN = {"connector": "hub", "domain": "math", "dataset": "a/c", "column": "q", "rows": 200}
CATALOG = Catalog(
    sources={
        "repeated": REPEATED,
        "plain": PLAIN,
        "unknown": {key: value for key, value in PLAIN.items() if key != "rows"},
    },
    benchmarks={"exam": {"connector": "hub", "domain": "math", "dataset": "a/d", "column": "q"}},
    models={"teacher": {"kind": "hub", "repository": "a/b", "tokenizer": "qwen"}},
    scales={},
    prompts={},
)
CONFIG: dict[str, Any] = {
    "targets": ["small"],
    "recipes": {
        "small": {
            "decontaminate": {"benchmarks": ["exam"]},
            "answers": {"teacher": "teacher", "samples": 4, "sampling": {"max_tokens": 300}},
            "domains": {
                "math": {
                    "sources": ["repeated"],
                    "select": {"by": "response_length", "model": "teacher", "keep": 50},
                    "draw": 50,
                }
            },
        }
    },
}
MATH = "recipes.small.domains.math"


def plan(**changes: Any) -> Plan:
    """The plan with some dotted settings of the domain changed; dots are written as two underscores."""
    config = CONFIG
    for path, value in changes.items():
        config = with_setting(config, f"{MATH}.{path.replace('__', '.')}", value)
    return make_plan(config, CATALOG)


def stages(**changes: Any) -> dict[str, Stage]:
    return {stage.kind: stage for stage in plan(**changes).recipes["small"].stages()}


def problems(**changes: Any) -> list[str]:
    try:
        plan(**changes)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def test_rows_and_different_questions_are_followed_through_every_stage() -> None:
    found = {kind: expected(stage) for kind, stage in stages().items() if kind in COUNTED}
    assert found == {
        "source": (1_900, 100), "clean": (1_900, 100), "selected": (950, 50), "mixed": (950, 50),
        "limited": (950, 50), "deduplicated": (50, 50), "drawn": (50, 50),
    }  # fmt: skip


COUNTED = ("source", "clean", "selected", "mixed", "limited", "deduplicated", "drawn")


def test_a_share_of_a_source_is_one_of_its_different_questions() -> None:
    found = stages(thin={"share": 0.2, "least": 9}, select__keep=10, draw=10)
    assert expected(found["thinned"]) == (380, 20)
    assert estimate_stage(found["labels"]).requests == 20


def test_where_nothing_deduplicates_rows_are_counted() -> None:
    found = stages(deduplicate__level="none")
    assert "counted" not in found["selected"].settings, "ids stay"
    assert expected(found["selected"]) == (50, 3), "rows of a question have one label and stay together"
    assert expected(found["drawn"]).rows == 50


def test_a_fraction_is_one_of_the_different_questions() -> None:
    assert expected(stages(select__keep=0.25, draw=None)["drawn"]) == (25, 25)
    assert expected(stages(select__keep=0.25, draw=None)["selected"]) == (475, 25)


def test_a_label_is_asked_for_once_for_each_different_question_and_answers_for_each_row() -> None:
    found = stages(deduplicate__level="none", select__questions_per_shard=30)
    assert estimate_stage(found["labels"]).requests == 100
    assert found["labels"].execution["shards"] == 4
    assert estimate_stage(found["answers"]).requests == 200


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        ({"rows": 9}, (9, 9)),
        ({}, (None, None)),
        ({"limit": 5}, (5, 5)),
        ({"rows": 9, "limit": 20}, (9, 9)),
        ({"rows": 9, "limit": 4}, (4, 4)),
        ({"rows": 9, "repeat_to": 30}, (30, 9)),
        ({"rows": 1_900, "questions": 100, "limit": 1_900}, (1_900, 100)),
    ],
)
def test_what_an_entry_has(entry: dict[str, Any], counts: tuple[int | None, int | None]) -> None:
    assert counts_of({"connector": "hub", **entry}) == Counts(*counts)


@pytest.mark.parametrize("rows", [20, 100, 600])
def test_a_random_part_of_the_rows_has_the_different_questions_that_trials_find(rows: int) -> None:
    table = [question for question in range(100) for _ in range(19)]
    found = [len(set(random.Random(trial).sample(table, rows))) for trial in range(200)]
    mean = sum(found) / len(found)
    assert counts_of({**REPEATED, "limit": rows}).questions == pytest.approx(mean, abs=1)
    drawn = stages(deduplicate__level="none", select__keep=None, draw=rows)["drawn"]
    assert expected(drawn).questions == pytest.approx(mean, abs=1)


def test_the_program_that_selects_is_told_what_is_counted() -> None:
    made = plan()
    selected = stages()["selected"]
    assert arguments.selection_policy(made, selected)[:2] == ["--count", "questions"]
    assert "--count" not in arguments.selection_policy(made, stages(deduplicate__level="none")["selected"])
    assert arguments.selection_policy(made, stages(select={"by": "random", "keep": 9}, draw=9)["selected"]) == [
        "--count",
        "questions",
    ]


def test_the_program_that_draws_is_told_of_every_stage_before() -> None:
    made = plan(sources=["repeated", "plain"])
    words = arguments.draw_policy(made, made.recipes["small"].domains["math"]["drawn"])
    assert words[:2] == ["--short", "fails"]
    told = " ".join(words[2:]).split("--before ")[1:]
    assert [each.split()[0] for each in told] == ["read", "clean", "selected", "limited", "deduplicated"]
    assert [len(each.split()) - 1 for each in told] == [2, 2, 2, 1, 1]
    thinned = plan(thin={"share": 0.5, "least": 60})
    words = arguments.draw_policy(thinned, thinned.recipes["small"].domains["math"]["drawn"])
    assert [after for word, after in itertools.pairwise(words) if word == "--before"][:3] == [
        "read",
        "thinned",
        "clean",
    ]
    allowed = plan(short="allowed")
    assert arguments.draw_policy(allowed, allowed.recipes["small"].domains["math"]["drawn"])[:2] == [
        "--short",
        "allowed",
    ]
    for needs_none in (plan(draw=None), plan(fill=True)):
        assert arguments.draw_policy(needs_none, needs_none.recipes["small"].domains["math"]["drawn"]) == []


@pytest.mark.parametrize("first", ["allowed", "fails"])
def test_of_recipes_that_share_a_draw_the_strictest_says_whether_it_may_be_short(first: str) -> None:
    small = CONFIG["recipes"]["small"]
    other = {"allowed": "fails", "fails": "allowed"}[first]
    recipes = {name: with_setting(small, "domains.math.short", how) for name, how in (("a", first), ("b", other))}
    made = make_plan({**CONFIG, "targets": ["a", "b"], "recipes": recipes}, CATALOG)
    drawn = {made.recipes[name].domains["math"]["drawn"] for name in "ab"}
    assert [stage.execution["short"] for stage in drawn] == ["fails"]


def test_whether_a_draw_may_be_short_is_part_of_no_id() -> None:
    assert set(plan().index) == set(plan(short="allowed").index)


@pytest.mark.parametrize(
    ("changes", "place", "sentence"),
    [
        ({"draw": 51}, "draw", "51 different questions are to be drawn of at most 50 that are kept"),
        ({"select__keep": None, "draw": 101}, "draw", "101 different questions are to be drawn of at most 100"),
        ({"thin": {"share": 0.2, "least": 9}, "select__keep": None, "draw": 21}, "draw", "21 different questions are"),
        ({"select__keep": 0.1, "draw": 11}, "draw", "11 different questions are to be drawn of at most 10"),
        ({"select__keep": 101}, "select.keep", "101 different questions are to be kept, and repeated has 100"),
        (
            {"sources": ["repeated", "plain"], "select__keep": 300},
            "select.keep",
            "300 different questions are to be kept, 150 of each source, and repeated has 100",
        ),
        (
            {"deduplicate__level": "none", "select__keep": 2_000},
            "select.keep",
            "2,000 rows are to be kept, and repeated has 1,900",
        ),
        (
            {"draw": None, "filter": {"by": "random", "candidates": 204, "keep": 9}},
            "filter.candidates",
            "51 different questions are to be drawn of at most 50",
        ),
    ],
)
def test_a_number_that_the_catalog_cannot_meet_is_told_where_it_was_written(
    changes: dict[str, Any], place: str, sentence: str
) -> None:
    told = problems(**changes)
    assert any(each.startswith(f"{MATH}.{place}: {sentence}") for each in told), told
    assert all("`fill: true`" in each and "`short: allowed`" in each for each in told)
    assert not problems(**changes, short="allowed")
    assert not problems(**changes, fill=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"select__keep": 100, "draw": 100},
        {"deduplicate__level": "none", "select__keep": 1_900, "draw": 1_900},
        {"sources": ["unknown"], "select__keep": 1_000_000, "draw": 1_000_000},
        {"sources": ["unknown", "repeated"], "select__keep": None, "draw": 1_000_000},
    ],
)
def test_what_can_be_met_or_is_not_known_is_no_problem(changes: dict[str, Any]) -> None:
    assert problems(**changes) == []


WRITTEN = {"connector": "written", "domain": "math", "documents": {**PLAIN, "limit": 10}, "rows": 200}


@pytest.mark.parametrize(
    ("entry", "most"),
    [
        ({**PLAIN, "limit": 150}, 150),
        ({**PLAIN, "repeat_to": 300}, 300),
        ({**PLAIN, "passage": 1_000}, None),
        ({**WRITTEN, "steps": ["write", "check"]}, 10),
        ({**WRITTEN, "steps": [["rephrase", "backward"], "check"]}, 20),
        ({**WRITTEN, "documents": {**PLAIN, "passage": 1_000}}, None),
    ],
)
def test_the_most_that_a_source_can_give(entry: dict[str, Any], most: int | None) -> None:
    assert most_of(entry, "rows") == most


def test_the_rows_of_a_file_are_counted_where_the_entry_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("q\na\nb\nc\n")
    own = {"connector": "local", "domain": "math", "path": str(tmp_path / "own.csv"), "column": "q"}
    catalog = replace(CATALOG, sources={**CATALOG.sources, "own": own})
    config = with_setting(with_setting(CONFIG, f"{MATH}.sources", ["own"]), f"{MATH}.select.keep", None)
    with pytest.raises(ConfigurationError, match="50 different questions are to be drawn of at most 3"):
        make_plan(config, catalog)
    assert make_plan(with_setting(config, f"{MATH}.draw", 3), catalog)


def test_it_is_told_with_every_other_mistake() -> None:
    told = problems(draw=51, answers__teacher="teecher")
    assert any(".draw: 51" in each for each in told)
    assert any("did you mean teacher" in each for each in told)
