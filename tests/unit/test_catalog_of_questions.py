"""The shipped catalog: every entry can be read as far as its connector goes, and what the paper lists is there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from openthoughts.base.cli import UserError
from openthoughts.grading.graders import GRADERS
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import ConfigurationError
from openthoughts.plan.planner import make_plan
from openthoughts.sources.columns import needed_columns
from openthoughts.sources.entries import entry_problems, fetched_entry
from openthoughts.sources.hub import entry_datasets, entry_parts
from openthoughts.sources.reading import read_questions


def entries(section: str, folder: str = "catalog") -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(folder, f"{section}.yaml").read_text(encoding="utf-8"))


PUBLISHED_SIZES = {
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "codeelo-programs": 391,
    "codeforces-programs": 453,
    "gpqa-diamond": 198,
    "hle-choice": 512,
    "hmmt": 30,
    "jeebench": 515,
    "livecodebench-v2": 511,
    "livecodebench-v5": 369,
    "math500": 500,
}
"""Questions of each evaluated benchmark, as the paper's evaluation has them."""

SOURCES, BENCHMARKS = entries("sources"), entries("benchmarks")
EVERYTHING = [
    *SOURCES.items(),
    *BENCHMARKS.items(),
    *entries("sources", "demo/catalog").items(),
    *entries("benchmarks", "demo/catalog").items(),
]


@pytest.mark.parametrize(("name", "entry"), EVERYTHING)
def test_entries_say_where_their_questions_are(name: str, entry: dict[str, Any]) -> None:
    assert entry_problems(entry) == []
    assert entry["domain"] in ("math", "code", "science", "safety")
    assert entry["licence"]
    entry = dict(fetched_entry(entry))
    if entry["connector"] == "hub":
        assert all(dataset.count("/") == 1 for dataset in entry_datasets(entry))
        for part in entry_parts(entry):
            for one in part["lookup"]["in"].values() if "lookup" in part else [part]:
                assert needed_columns(one)


def test_every_source_of_the_paper_is_listed() -> None:
    assert Counter(entry["domain"] for entry in SOURCES.values()) == {
        "code": 27,
        "math": 21,
        "science": 14,
        "safety": 2,
    }
    resolved = Counter(entry["domain"] for entry in SOURCES.values() if entry["connector"] != "unresolved")
    assert resolved == {"code": 27, "math": 21, "science": 11, "safety": 2}
    for domain, most in (("code", 27), ("math", 21), ("science", 14)):
        ranks = [entry["rank"] for entry in SOURCES.values() if entry["domain"] == domain and "rank" in entry]
        assert len(set(ranks)) == len(ranks)
        assert set(ranks) <= set(range(1, most + 1))


def test_the_funnel_begins_with_the_numbers_of_the_cards_and_of_the_paper() -> None:
    rows = {name: SOURCES[name]["rows"] for name in SOURCES if "rows" in SOURCES[name]}
    assert (rows["openmath-2-math"], SOURCES["openmath-2-math"]["questions"]) == (11_402_286, 600_000)
    assert (rows["open-code-reasoning"], SOURCES["open-code-reasoning"]["questions"]) == (735_255, 28_319)
    assert rows["stackexchange-codegolf"] == 116_000
    assert rows["stackexchange-physics"] + rows["organic-chemistry"] == 593_000


def test_benchmarks_are_decontaminated_against_and_evaluated_as_published() -> None:
    decontaminated = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))["recipes"]["openthoughts3"]
    against = decontaminated["decontaminate"]["benchmarks"]
    assert len(against) == 13
    evaluated = set(decontaminated["evaluation"]["benchmarks"])
    assert {name: BENCHMARKS[name]["rows"] for name in evaluated} == PUBLISHED_SIZES
    assert {BENCHMARKS[name].get("part_of", name) for name in evaluated} <= set(against)
    groups = Counter(BENCHMARKS[name]["group"] for name in evaluated)
    assert groups == {"validation": 8, "held-out": 4}
    assert {name for name, entry in BENCHMARKS.items() if entry.get("samples") == 10} == {
        "aime24",
        "aime25",
        "amc23",
        "hmmt",
    }
    for entry in BENCHMARKS.values():
        assert entry["grader"] in {*GRADERS, "none"}
        if entry["grader"] == "judge":
            assert (Path("catalog/prompts") / f"{entry['judge']['prompt']}.md").is_file()
            continue
        assert ("prompt" in entry) == (entry["grader"] != "none")


def test_a_source_that_is_not_resolved_says_so() -> None:
    unresolved = {name: entry for name, entry in SOURCES.items() if entry["connector"] == "unresolved"}
    assert unresolved
    for name, entry in unresolved.items():
        assert not entry["verified"]
        with pytest.raises(UserError, match=f"{name}: this source cannot be fetched"):
            list(read_questions(name, entry["domain"], entry))


def test_every_source_that_can_be_read_is_planned() -> None:
    catalog = read_catalog(["catalog"])
    config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    (recipe,) = config["recipes"].values()
    for domain, block in recipe["domains"].items():
        block["sources"] = [
            name for name, entry in SOURCES.items() if entry["domain"] == domain and entry["connector"] != "unresolved"
        ]
        block["top"] = None
    kinds = Counter(stage.kind for stage in make_plan(config, catalog).index.values())
    safety = sum(entry["domain"] == "safety" for entry in SOURCES.values())
    assert kinds["source"] == kinds["clean"] == len(SOURCES) - 3 - safety
    assert kinds["written"] == 6 * 3 + 2 * 4 + 3


TABLE = {"connector": "local", "domain": "math", "path": "q.csv"}


@pytest.mark.parametrize(
    ("section", "entry", "sentence"),
    [
        ("sources", TABLE, "one of column, text, chat: nothing says it"),
        ("sources", {**TABLE, "column": "q", "text": "{q}"}, "one of column, text, chat: column and text say it"),
        ("sources", {**TABLE, "column": "q", "limit": -4}, "limit: "),
        ("sources", {**TABLE, "column": "q", "rows": 5, "questions": 6}, "6 different questions cannot be in 5 rows"),
        ("sources", {"connector": "hub", "domain": "math", "parts": [{"dataset": "a/b"}]}, "nothing says it"),
        ("benchmarks", {**TABLE, "column": "q", "grader": "math"}, "graded by math, which needs a `reference`"),
        (
            "models",
            {"kind": "hub", "repository": "a/b", "template": "qwen33"},
            "no template 'qwen33' (did you mean qwen3",
        ),
        ("models", {"kind": "hub", "repository": "a/b", "tokenizer": "llama"}, "there is no tokenizer 'llama'"),
        ("gpus", {"memory_gib": 80}, "the key 'bandwidth_tb_s' is missing"),
    ],
)
def test_a_mistake_of_the_catalog_is_told_before_anything_runs(
    tmp_path: Path, section: str, entry: dict[str, Any], sentence: str
) -> None:
    (tmp_path / f"{section}.yaml").write_text(yaml.safe_dump({"mine": entry}))
    with pytest.raises(ConfigurationError) as raised:
        read_catalog([tmp_path])
    assert len(raised.value.problems) == len({*raised.value.problems})
    assert any("mine" in each and sentence in each for each in raised.value.problems), raised.value.problems


@pytest.mark.parametrize("section", ["sources", "benchmarks"])
def test_parts_and_limit_that_are_null_are_not_given(section: str, tmp_path: Path) -> None:
    entry = {"connector": "hub", "domain": "math", "dataset": "a/b", "column": "q", "parts": None, "limit": None}
    (tmp_path / f"{section}.yaml").write_text(yaml.safe_dump({"one": entry}))
    assert getattr(read_catalog(["catalog", tmp_path]), section)["one"]["parts"] is None


def test_a_catalog_in_another_encoding_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(UserError, match=r"sources.yaml is not UTF-8 text: save it as UTF-8"):
        read_catalog(["catalog", tmp_path])


def test_a_key_that_is_a_list_is_told(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("? [a, b]\n: {}\n")
    with pytest.raises(UserError, match=r"the key \['a', 'b'\] is no word"):
        read_catalog(["catalog", tmp_path])
