"""What all answers to a question say together: votes in any notation, ties, what is unknown, programs, pass rates."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.answer_tables import answers, completion, drawn

from openthoughts.answers import consensus
from openthoughts.answers.consensus import (
    Classes,
    Subject,
    elect,
    equivalence_classes,
    kind_of,
    measure_answers,
    read_subjects,
    run_program,
    whole,
)
from openthoughts.base import streams
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.base.streams import Spilled
from openthoughts.base.tables import COMPLETIONS, DRAWN, MEASURES, write_table
from openthoughts.grading import code
from openthoughts.grading.mathematics import equality_workers
from openthoughts.grading.sandbox.sandbox import Limits

SETTINGS = {"last_number": True, "programs": True}
ONE, TWO = "What is a half?", "What is two?"


def boxed(*notations: str) -> list[str]:
    return [rf"So it is \boxed{{{notation}}}." for notation in notations]


def measured(
    folder: Path,
    texts: Mapping[str, Sequence[str | None]],
    references: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **settings: bool,
) -> pl.DataFrame:
    """The measures of answers to questions with references and metadata."""
    questions = drawn(folder / "drawn.parquet", list(texts))
    table = pl.read_parquet(questions)
    table = table.with_columns(
        reference_answer=pl.Series([(references or {}).get(q) for q in table["question"]], dtype=pl.String),
        metadata=pl.Series([json.dumps((metadata or {}).get(q, {})) for q in table["question"]]),
    )
    write_table(table, questions, DRAWN)
    given = answers(folder / "answers.parquet", texts)
    return measure_answers(questions, given, {**SETTINGS, **settings}, folder / "measures.parquet")


def of(table: pl.DataFrame, question: str) -> dict[str, Any]:
    """The columns of a question, which are the same on each of its answers."""
    names = ("majority_answer", "agreement", "ties", "pass_rate", "difficulty_from_answers")
    (row,) = table.filter(pl.col("question_id") == question_id(question)).select(names).unique().rows(named=True)
    return row


SIXTEEN: list[tuple[str, list[str], str, int]] = [
    # what is compared; sixteen answers in different notations; the winner; its votes
    ("fractions", ["1/2", r"\frac{1}{2}", "0.5", r"\dfrac12", r"\tfrac{2}{4}", *["1/3"] * 4, *["2"] * 4,
                   *["0.3333"] * 3], "1/2", 5),
    ("decimals", ["2.50", "2.5", "5/2", r"\frac52", "2.500", *["2.05"] * 4, *["25"] * 4, *["0.25"] * 3], "2.50", 5),
    ("units", ["10", r"10\text{ cm}", "10.0", r"10 \mathrm{cm}", *["100"] * 3, *[str(n) for n in range(20, 29)]],
     "10", 4),
    ("intervals", ["[0,1)", r"\left[0, 1\right)", "[0, 1)", "[0,1.0)", *["(0,1)"] * 3, *["[0,1]"] * 3,
                   *[f"[0,{n})" for n in range(2, 8)]], "[0,1)", 4),
    ("sets", [r"\{1,2,3\}", r"\{3,2,1\}", r"\{2, 1, 3\}", *[r"\{1,2\}"] * 2, *[rf"\{{{n}\}}" for n in range(11)]],
     r"\{1,2,3\}", 3),
    ("expressions", ["x^2-1", "(x-1)(x+1)", "-1+x^2", *["x^2+1"] * 2, *[f"x+{n}" for n in range(1, 12)]], "x^2-1", 3),
    ("roots", [r"\sqrt{8}", r"2\sqrt{2}", r"2 \cdot \sqrt 2", r"\sqrt{4\cdot 2}", *["2.83"] * 3, *["4"] * 3,
               *[rf"\sqrt{{{n}}}" for n in (3, 5, 6, 7, 10, 11)]], r"\sqrt{8}", 4),
    ("thousands", ["12,345", "12345", "12345.0", *["1234"] * 2, *[str(n) for n in range(11)]], "12,345", 3),
]  # fmt: skip


@pytest.mark.parametrize("case", SIXTEEN, ids=[case[0] for case in SIXTEEN])
def test_sixteen_answers_in_different_notations_have_the_known_winner(
    tmp_path: Path, case: tuple[str, list[str], str, int]
) -> None:
    _, notations, winner, votes = case
    assert len(notations) == 16
    table = measured(tmp_path, {ONE: boxed(*notations)})
    assert of(table, ONE) | {"ties": 1} == of(table, ONE)
    assert of(table, ONE)["majority_answer"] == winner
    assert of(table, ONE)["agreement"] == votes / 16
    assert table.filter("in_majority")["sample"].to_list() == list(range(votes))


def test_ties_are_reported_and_the_earliest_wins(tmp_path: Path) -> None:
    table = measured(tmp_path, {ONE: boxed("4", "3", "3.0", "4", "5")})
    assert of(table, ONE) == {
        "majority_answer": "4", "agreement": 2 / 5, "ties": 2, "pass_rate": None, "difficulty_from_answers": 3 / 5,
    }  # fmt: skip


def test_a_pass_rate_counts_what_came_and_a_stated_answer_is_needed(tmp_path: Path) -> None:
    texts = {ONE: [*boxed("0.5", "1/3"), "no idea", None], TWO: boxed("2", "2", "2", "2")}
    table = measured(tmp_path, texts, {ONE: r"\frac{1}{2}"})
    assert table.filter(pl.col("question_id") == question_id(ONE))["correct"].to_list() == [1.0, 0.0, 0.0, None]
    assert of(table, ONE)["pass_rate"] == pytest.approx(1 / 3)
    assert of(table, ONE)["difficulty_from_answers"] == pytest.approx(2 / 3)
    assert of(table, TWO) | {"pass_rate": None, "difficulty_from_answers": 0.0} == of(table, TWO)


@pytest.mark.slow
def test_what_math_verify_gives_up_on_is_unknown_and_not_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus, "equality_workers", lambda: equality_workers(cpu_seconds=2))
    tower = "9^{9^{9^9}}"
    table = measured(tmp_path, {ONE: boxed("x+1", "1+x", tower, "7")}, {ONE: "x+1"})
    rows = table.select("answer", "in_majority", "correct").rows()
    assert rows == [("x+1", True, 1.0), ("1+x", True, 1.0), (tower, None, None), ("7", False, 0.0)]
    assert of(table, ONE)["agreement"] == 2 / 3  # of the three of which it is known
    assert of(table, ONE)["pass_rate"] == 2 / 3


@pytest.mark.slow
def test_unknown_pairs_are_told_from_different_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus, "equality_workers", lambda: equality_workers(cpu_seconds=2))
    (classes,) = equivalence_classes([["x+1", "9^{9^{9^9}}", "7"]])
    assert classes.of == {"x+1": 0, "9^{9^{9^9}}": 1, "7": 2}
    assert (0, 1) in classes.unknown
    assert (0, 2) not in classes.unknown
    votes = [(0, "a"), (1, "b"), (2, "a"), (3, None)]
    assert elect(votes, Classes({"a": 0, "b": 1}, frozenset({(0, 1)}))) == [
        (0, "a", 2 / 3, 1, True), (1, "a", 2 / 3, 1, None), (2, "a", 2 / 3, 1, True), (3, "a", 2 / 3, 1, None),
    ]  # fmt: skip


def program(*lines: str) -> str:
    return "<think>so</think>\n```python\n" + "\n".join(lines) + "\n```"


@pytest.mark.slow
def test_programs_vote_by_what_they_do_in_the_tests(tmp_path: Path) -> None:
    tests = {"tests": [{"input": f"{n}\n", "output": f"{2 * n}\n"} for n in (1, 2, 3)]}
    texts = [
        program("print(int(input()) * 2)"),
        program("n = int(input())", "print(n + n)"),
        program("print(int(input()) + 1)"),
        program("n = input()", "print(1 + int(n))"),
        program("print(sum([1, int(input())]))"),
        program("if input() == '1':", "    while True: pass"),
        "I cannot write programs.",
        None,
    ]
    table = measured(tmp_path, {ONE: texts}, metadata={ONE: tests})
    assert table["in_majority"].to_list() == [False, False, True, True, True, None, None, None]
    assert table["correct"].to_list() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None]
    assert of(table, ONE)["agreement"] == 3 / 7
    assert of(table, ONE)["majority_answer"] is None
    assert of(table, ONE)["pass_rate"] == 2 / 7


PROMPT = 'def f(n):\n    """Do it."""\n'


@pytest.mark.slow
def test_functions_vote_by_what_they_return(tmp_path: Path) -> None:
    tests = {"function": "f", "tests": [{"input": [n], "output": [n, {"a": n}]} for n in (1, 2)]}
    check = {"entry_point": "f", "test": "def check(c):\n    assert c(1) == {1, 2}\n    assert c(2) == {2, 3}\n"}
    texts = {
        ONE: [
            program("def f(n):", f"    return {value}") for value in ("(n, {'a': n})", "[n, {'a': n}]", "n", "n + 0.0")
        ],
        PROMPT: [program("def f(n):", f"    return {value}") for value in ("{n, n + 1}", "{n + 1, n}", "1 / 0")],
    }
    table = measured(tmp_path, texts, metadata={ONE: tests, PROMPT: check})
    by_question = {q: table.filter(pl.col("question_id") == question_id(q)) for q in texts}
    assert by_question[ONE]["correct"].to_list() == [1.0, 1.0, 0.0, 0.0]
    assert by_question[ONE]["in_majority"].to_list() == [True, True, False, False]
    assert of(table, ONE)["ties"] == 2
    assert by_question[PROMPT]["in_majority"].to_list() == [True, True, False]
    assert of(table, PROMPT)["pass_rate"] == pytest.approx(2 / 3)


@pytest.mark.slow
def test_a_function_that_takes_too_long_is_unknown_and_agrees_with_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "limits_of", lambda metadata: Limits(cpu_seconds=1, wall_seconds=20))
    tests = {"function": "f", "tests": [{"input": [n], "output": n} for n in (1, 2, 3)]}
    subject = Subject("code", None, json.dumps(tests), ONE)

    def did(*second_case: str) -> tuple[str | None, float | None]:
        return run_program((program("def f(n):", "    if n == 2:", *second_case, "    return n"), subject))

    assert did("        while True: pass") == (None, 0.0)
    left, _ = did("        raise SystemExit")
    assert left is not None
    assert did("        import os; os._exit(3)") == (left, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["program", "function"])
def test_a_problem_may_give_its_solutions_longer(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "Limits", partial(Limits, cpu_seconds=1))
    slow = ("import time", "while time.process_time() < 3: pass")
    if shape == "program":
        text, tests = program(*slow, "print(2)"), {"tests": [{"input": "", "output": "2"}]}
    else:
        text, tests = program(*slow, "def f(): return 2"), {"function": "f", "tests": [{"input": [], "output": 2}]}
    for limit, score in ((None, 0.0), (8, 1.0)):
        subject = Subject("code", None, json.dumps({**tests, "time_limit": limit}), ONE)
        behaviour, passed = run_program((text, subject))
        assert (behaviour is not None, passed) == (score == 1.0, score)


def test_the_hidden_tests_of_all_questions_are_never_held_at_once(tmp_path: Path) -> None:
    size, number = 100_000, 200
    texts = {f"{PROMPT}# {n}": [program("print(1)")] for n in range(number)}
    questions = drawn(tmp_path / "drawn.parquet", list(texts), domain="code")
    tests = [json.dumps({"tests": [{"input": f"{n} " * (size // 4), "output": "1"}]}) for n in range(100, 100 + number)]
    write_table(pl.read_parquet(questions).with_columns(metadata=pl.Series(tests)), questions, DRAWN)
    with Spilled(tmp_path) as contents:
        tracemalloc.start()
        subjects = read_subjects(questions, True, contents)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < number * size / 20
        for text, metadata in zip(texts, tests, strict=True):
            subject = whole(question_id(text), subjects, contents)
            assert subject == Subject("code", None, metadata, text)


def test_programs_are_left_out_where_that_is_wanted(tmp_path: Path) -> None:
    tests = {"tests": [{"input": "", "output": "1"}]}
    table = measured(tmp_path, {ONE: [program("print(1)")]}, metadata={ONE: tests}, programs=False)
    assert table.select("answer", "correct", "agreement").rows() == [(None, None, None)]


def test_where_there_is_no_sandbox_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openthoughts.grading.sandbox.sandbox.unavailable", lambda: "no namespaces")
    with pytest.raises(UserError, match=r"set `measure.programs: false`"):
        measured(tmp_path, {ONE: ["x"]}, metadata={ONE: {"entry_point": "f", "test": ""}})


def test_choices_are_compared_by_their_letters(tmp_path: Path) -> None:
    choices = {"choices": ["copper", "zinc", "iron"]}
    texts = {ONE: ["The answer is B.", r"\boxed{zinc}", "The answer is (A)", "hm"]}
    table = measured(tmp_path, texts, {ONE: "zinc"}, {ONE: choices})
    assert table["answer"].to_list() == ["B", "B", "A", None]
    assert table["correct"].to_list() == [1.0, 1.0, 0.0, 0.0]
    assert of(table, ONE)["majority_answer"] == "B"


@pytest.mark.slow
def test_puzzles_are_graded_by_their_own_verifiers(tmp_path: Path) -> None:
    import reasoning_gym

    entry = next(iter(reasoning_gym.create_dataset("leg_counting", size=1, seed=1)))
    question, right = entry["question"], str(entry["answer"])
    texts = {question: [f"<answer>{right}</answer>", f"<answer> {right} </answer>", "<answer>-1</answer>"]}
    table = measured(tmp_path, texts, {question: right}, {question: {"family": "leg_counting", "entry": entry}})
    assert table["correct"].to_list()[:2] == [1.0, 1.0]
    assert table["in_majority"].to_list() == [True, True, False]


def test_what_is_compared_depends_on_the_question() -> None:
    assert kind_of({}) == "math"
    assert kind_of({}, domain="code") == "none"
    assert kind_of({}, domain="code", reference="7") == "math"
    assert kind_of({"tests": []}, domain="code") == "code"
    assert kind_of({"choices": ["a", "b"]}) == "choice"
    assert kind_of({"family": "x", "entry": {}}) == "reasoning_gym"


def test_lengths_and_truncation_are_the_servers(tmp_path: Path) -> None:
    questions = drawn(tmp_path / "drawn.parquet", [ONE])
    rows = [completion(ONE, 0, "whole"), completion(ONE, 1, "cut o", finish_reason="length"), completion(ONE, 2, None)]
    write_table(pl.DataFrame(rows, schema=dict(COMPLETIONS)), tmp_path / "a.parquet", COMPLETIONS)
    table = measure_answers(questions, tmp_path / "a.parquet", SETTINGS, tmp_path / "m.parquet")
    columns = ("truncated", "prompt_tokens", "completion_tokens")
    assert table.select(columns).rows() == [(False, 5, 5), (True, 5, 5), (False, 5, None)]


@pytest.mark.parametrize("texts", [{}, {ONE: [None]}, {ONE: ["x"]}, {ONE: boxed("1")}, {ONE: boxed(*["7"] * 16)}])
def test_none_one_and_equal_answers(tmp_path: Path, texts: dict[str, list[str | None]]) -> None:
    table = measured(tmp_path, texts)
    assert dict(table.schema) == dict(MEASURES)
    assert table.height == sum(map(len, texts.values()))
    elected = table.filter(pl.col("in_majority"))
    assert set(elected["agreement"]) <= {1.0}
    assert set(elected["ties"]) <= {1}


def test_the_last_number_counts_only_where_it_is_wanted(tmp_path: Path) -> None:
    texts = {ONE: ["we get 7", "we get 7"]}
    assert of(measured(tmp_path, texts), ONE)["majority_answer"] == "7"
    assert of(measured(tmp_path, texts, last_number=False), ONE)["agreement"] is None


@pytest.mark.slow
def test_neither_order_nor_pieces_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {f"question {n}": boxed(str(n), f"{n}.0", f"{n + 1}", "x+1", "1+x") for n in range(9)}
    measured(tmp_path, texts, {"question 3": "3"})
    whole = (tmp_path / "measures.parquet").read_bytes()
    shuffled = pl.read_parquet(tmp_path / "answers.parquet").sample(fraction=1, shuffle=True, seed=3)
    write_table(shuffled, tmp_path / "shuffled.parquet", COMPLETIONS)
    rows = pl.read_parquet(tmp_path / "drawn.parquet").reverse()
    write_table(rows, tmp_path / "drawn.parquet", DRAWN)
    monkeypatch.setattr(streams.read_batches, "__defaults__", (None, 4))
    assert consensus.read_batches is streams.read_batches
    again = tmp_path / "again.parquet"
    measure_answers(tmp_path / "drawn.parquet", tmp_path / "shuffled.parquet", SETTINGS, again)
    assert again.read_bytes() == whole


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    drawn(tmp_path / "drawn.parquet", [ONE])
    answers(tmp_path / "answers.parquet", {TWO: ["2"]})
    with pytest.raises(UserError, match="which was not drawn"):
        measure_answers(tmp_path / "drawn.parquet", tmp_path / "answers.parquet", SETTINGS, tmp_path / "m.parquet")
