"""Settings as models: what is wrong is told with its place and remedy, and a field says whether it is part of an id."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from openthoughts.base.options import Options, execution_only, problems, repaired, unless_default


class Inner(Options):
    samples: int = Field(1, ge=1)
    words: tuple[str, ...] = ()
    unit: Literal["tokens", "characters"] = "tokens"
    share: float | None = None
    jobs: int = execution_only(4)
    added: int = unless_default(0)


class Outer(Options):
    inner: Inner = Inner()
    by_name: dict[str, Inner] = Field({})
    either: str | Inner = ""
    needed: int


class Written(Options):
    identity_as_written: ClassVar[bool] = True
    limit: int | None = None
    at_least: int | float = 0
    rank: int = execution_only(0)


CASES: list[tuple[Any, list[str]]] = [
    ({"needed": 1}, []),
    ({}, ["here: the key 'needed' is missing"]),
    ({"needed": 1, "inner": {"sample": 1}}, ["here.inner: unknown key 'sample' (did you mean samples?)"]),
    ({"needed": 1, "by_name": {"a": {"sample": 1}}}, ["here.by_name.a: unknown key 'sample' (did you mean samples?)"]),
    ({"needed": "16"}, ["here.needed: '16' should be of type integer"]),
    ({"needed": True}, ["here.needed: true should be of type integer"]),
    ({"needed": "2e4"}, ["here.needed: '2e4' should be of type integer (YAML reads 1e-5 as text: write 1.0e-5)"]),
    ({"needed": "eight"}, ["here.needed: 'eight' should be of type integer"]),
    ({"needed": 1, "inner": None}, ["here.inner: null should be of type mapping"]),
    ({"needed": 1, "inner": [1]}, ["here.inner: [1] should be of type mapping"]),
    ({"needed": 1, "by_name": [1]}, ["here.by_name: [1] should be of type mapping"]),
    ({"needed": 1, "either": 3}, ["here.either: 3 should be of type string or mapping"]),
    ({"needed": 1, "either": {"samples": 0}}, ["here.either.samples: 0 is less than the minimum of 1"]),
    (
        {"needed": 1, "inner": {"unit": "token"}},
        ["here.inner.unit: 'token' is not one of the choices (did you mean tokens?)"],
    ),
    ({"needed": 1, "inner": {"words": "a"}}, ["here.inner.words: 'a' should be of type list"]),
    ({"needed": 1, "inner": {"words": ["a", 1]}}, ["here.inner.words.1: 1 should be of type string"]),
    ({"needed": 1, "inner": {1: 2}}, ["here.inner: the key 1 is not text: put it in quotes"]),
    ([], ["here: [] should be of type mapping"]),
    (
        {"neded": 1, "inner": {"samples": -1, "share": "x"}},
        [
            "here.inner.samples: -1 is less than the minimum of 1",
            "here.inner.share: 'x' should be of type number",
            "here: the key 'needed' is missing",
            "here: unknown key 'neded' (did you mean needed?)",
        ],
    ),
]


@pytest.mark.parametrize(("value", "expected"), CASES)
def test_every_mistake_is_told_at_once(value: Any, expected: list[str]) -> None:
    assert problems(Outer, value, "here") == expected


def test_the_top_level_has_a_name_of_its_own() -> None:
    assert problems(Written, {"limt": 1}) == ["(top level): unknown key 'limt' (did you mean limit?)"]


def test_what_is_left_without_the_mistakes_can_be_looked_at_further() -> None:
    good, left_out = repaired(Outer, {"needed": 1, "inner": {"samples": 0, "share": 1}, "by_name": {"a": 1, "b": {}}})
    assert good == Outer(needed=1, inner=Inner(share=1.0), by_name={"b": Inner()})
    assert left_out == {"samples", "a"}
    assert repaired(Outer, {"needed": "x"})[0] is None


def test_a_whole_number_may_be_written_with_a_power_and_a_list_is_taken() -> None:
    read = Inner.model_validate({"samples": 2.0e4, "words": ["a"], "share": 1})
    assert (read.samples, read.words, read.share) == (20000, ("a",), 1.0)
    assert isinstance(read.samples, int)
    with pytest.raises(ValidationError):
        Inner.model_validate({"samples": 2.5})


def test_an_id_holds_what_changes_a_result() -> None:
    assert Inner().identity() == {"samples": 1, "words": [], "unit": "tokens", "share": None}
    assert Inner(jobs=9, added=2, words=("a",)).identity()["added"] == 2
    assert "jobs" not in Outer(needed=1, inner=Inner(jobs=9)).identity()["inner"]
    written = Written.model_validate({"at_least": 1, "rank": 2})
    assert written.identity() == {"at_least": 1}
    assert isinstance(written.identity()["at_least"], int)
