"""A recipe with each filter of questions and of answers, run to its dataset: one run of a workflow has them all.

Models are played by a server on loopback; fastText, embeddings and everything that is computed are the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.fake_openai import FakeServer, default_answer
from tests.workflow.conftest import Checkout

from openthoughts.answers.filters import FILTERS
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import ConfigurationError, merged, read_yaml
from openthoughts.plan.planner import make_plan
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.stages import RecipePlan
from openthoughts.report.reference import json_schema

EXAMPLES = {"positives": ["sums"], "negatives": ["tales"]}
SMALL = {"dim": 16, "bucket": 1000, "min_count": 1}

SELECT: dict[str, dict[str, Any]] = {
    "random": {"keep": 6},
    "difficulty": {"model": "oracle", "prompt": "difficulty_math", "keep": 0.5},
    "response_length": {"model": "oracle", "keep": 6, "unit": "characters"},
    "ask_llm": {"model": "oracle", "prompt": "ask_llm", "at_least": 3},
    "fasttext": {"examples": EXAMPLES, "fasttext": SMALL, "keep": 6},
    "embeddings": {"examples": EXAMPLES, "model": "embedder", "keep": 0.5, "unlabelled": "error"},
    "question_length": {"keep": 0.5},
}
"""A ``select`` of each filter of questions."""

CHOOSE: dict[str, dict[str, Any]] = {
    **{name: {} for name in FILTERS},
    "random": {"keep": 5},
    "shortest": {"keep": 5, "candidates": 12},
    "longest": {"options": {"keep_per_question": 1}},
    "majority": {"options": {"min_agreement": 0.3}},
    "short_paragraphs": {"options": {"max_characters": 500}},
    "columns": {"options": {"where": {"agreement": [0.2, None], "truncated": False}}},
    "fasttext": {
        "examples": {"positives": [{"source": "sums", "model": "oracle"}], "negatives": ["tales"]},
        "fasttext": SMALL,
        "keep": 5,
    },
    "llm_verification": {"model": "oracle", "sampling": {"max_tokens": 300}},
}
"""A ``filter`` of each filter of answers."""


def answer(body: dict[str, Any]) -> str:
    """Solutions that every filter keeps some of, and verdicts that find half of them right."""
    wanted = body.get("response_format")
    if wanted and wanted["json_schema"]["name"] == "llm_verification":
        return json.dumps({"reasoning": "because", "correct": len(body["messages"][-1]["content"]) % 2 == 0})
    if wanted:
        return default_answer(body)
    numbers = [int(word) for word in body["messages"][-1]["content"].replace("?", " ").split() if word.isdigit()]
    total = sum(numbers) + body["seed"] % 2
    more = "Then we look at it again, because nothing is certain. " * (body["seed"] % 3)
    code = f"```python\nprint({total})\n```"
    return f"<think>\nWe add the two numbers.\n</think>\n\n{more}This sums to that.\n\n{code}\n\nThe answer is {total}."


def recipes() -> dict[str, Any]:
    """A recipe for each filter."""
    base = {"decontaminate": {"benchmarks": ["roads"]}, "answers": {"teacher": "oracle", "samples": 2}}
    domain = {"sources": ["sums"], "select": {"by": "random", "keep": 6}}
    made = {}
    for name, settings in SELECT.items():
        made[f"select-{name}"] = {**base, "domains": {"math": {**domain, "select": {"by": name, **settings}}}}
    for name, settings in CHOOSE.items():
        made[f"filter-{name}"] = {**base, "domains": {"math": {**domain, "filter": {"by": name, **settings}}}}
    return {name.replace("_", "-"): recipe for name, recipe in made.items()}


@pytest.fixture(scope="module")
def oracle() -> Iterator[FakeServer]:
    with FakeServer(answer=answer) as running:
        yield running


@pytest.fixture(scope="module")
def config(checkout: Checkout, oracle: FakeServer) -> dict[str, Any]:
    """The configuration of all recipes; its catalog is written into the checkout."""
    own = checkout.folder / "own"
    own.mkdir()
    sums = [{"q": f"What is {n} plus {n + 1}?", "a": str(2 * n + 1)} for n in range(12)]
    tales = [{"q": f"Once upon a time {n} frogs sang in a pond.", "a": ""} for n in range(12)]
    for name, rows in (("sums", sums), ("tales", tales)):
        (own / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (own / "roads.jsonl").write_text(json.dumps({"q": "How many roads must a man walk down?"}) + "\n")
    entry = {"connector": "local", "domain": "math", "column": "q", "rows": 12}
    sources = {name: {**entry, "path": f"own/{name}.jsonl", "reference": "a"} for name in ("sums", "tales")}
    roads = {"roads": {**entry, "path": "own/roads.jsonl", "rows": 1, "grader": "none"}}
    model = {
        "kind": "api",
        "api_model": "fake-model",
        "base_url": oracle.base_url,
        "api_key_variable": "FAKE_KEY",
        "tokenizer": "qwen",
    }
    embedder = {**{key: value for key, value in model.items() if key != "tokenizer"}, "task": "embed"}
    (own / "sources.yaml").write_text(yaml.safe_dump(sources))
    (own / "benchmarks.yaml").write_text(yaml.safe_dump(roads))
    (own / "models.yaml").write_text(yaml.safe_dump({"oracle": model, "embedder": embedder}))
    made = recipes()
    names = {"results": "results/filters", "store": "store/filters", "catalog": ["catalog", "own"]}
    return {"targets": list(made), "recipes": made, "accelerator": "cpu", **names}


def test_every_filter_of_the_configuration_is_tried_here() -> None:
    parts = json_schema(Configuration)["$defs"]
    assert sorted(parts["select"]["properties"]["by"]["enum"]) == sorted(SELECT)
    assert sorted(parts["filter"]["properties"]["by"]["enum"]) == sorted(CHOOSE) == sorted(FILTERS)


def test_the_dry_run_knows_every_filter_and_shares_what_it_can(checkout: Checkout, config: dict[str, Any]) -> None:
    jobs = checkout.jobs("--configfile", checkout.write_config(config))
    assert jobs["assemble_dataset"] == len(SELECT) + len(CHOOSE) - 1  # two of them are the same recipe
    assert jobs["train_classifier"] == 2
    assert jobs["embed_examples"] == jobs["embed_questions"] == 1
    assert jobs["score_questions"] == 2
    assert jobs["label_questions"] == 3
    assert jobs["verify_answers"] == jobs["score_answers"] == 1
    assert jobs["fetch_source"] == 2


@pytest.fixture(scope="module")
def finished(checkout: Checkout, config: dict[str, Any]) -> Checkout:
    """The checkout after a run of the filters of questions, and of those of answers to their datasets."""
    for kind, last in (("select", "select_questions"), ("filter", "assemble_dataset")):
        targets = [name for name in config["targets"] if name.startswith(kind)]
        own = checkout.write_config({**config, "targets": targets}, f"{kind}.yaml")
        checkout.snakemake("--configfile", own, "--cores", "2", "--quiet", "rules", "--until", last)
    return checkout


def stages(folder: Path, config: dict[str, Any], recipe: str) -> RecipePlan:
    own = merged(read_yaml(folder / "config.yaml"), {**config, "targets": [recipe]})
    own["recipes"] = config["recipes"]
    return make_plan(own, read_catalog(config["catalog"])).recipes[recipe]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SELECT))
def test_a_filter_of_questions_selects(
    finished: Checkout, config: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    mixed = stages(finished.folder, config, f"select-{name}".replace("_", "-")).domains["math"]["mixed"]
    folder = finished.folder / "results/filters" / mixed.input("questions").folder
    kept, dropped = (pl.read_parquet(folder / f"{file}.parquet") for file in ("questions", "dropped"))
    assert kept.height + dropped.height == 12
    if name != "ask_llm":
        assert kept.height == 6
    if name != "random":
        assert kept["label"].is_sorted(descending=True)
        assert kept["label"].min() >= (dropped["label"].max() or 0) or name == "ask_llm"  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CHOOSE))
def test_a_recipe_with_the_filter_of_answers_ends_in_a_dataset(
    finished: Checkout, config: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    dataset = stages(finished.folder, config, f"filter-{name}".replace("_", "-")).dataset
    table = pl.read_parquet(finished.folder / "results/filters" / dataset.folder / "dataset.parquet")
    assert 0 < table.height <= 12
    assert table["question_id"].n_unique() <= 6
    assert table["agreement"].null_count() == table["pass_rate"].null_count() == 0
    if name in ("none", "complete", "language", "python", "short_paragraphs"):
        assert table.height == 12
    if name in ("random", "shortest", "fasttext"):
        assert table.height == 5
    if name == "reference":
        assert table["correct"].to_list() == [1.0] * table.height
    if name == "longest":
        assert table["question_id"].is_unique().all()


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ({"select": {"by": "fasttext"}}, "select: the key 'examples' is missing"),
        (
            {"select": {"by": "fasttext", "examples": {"positives": ["sum"], "negatives": ["tales"]}}},
            "select.examples.positives.0: the catalog has no source 'sum' (did you mean sums?)",
        ),
        ({"select": {"by": "embeddings", "model": "oracle", "examples": EXAMPLES}}, "name one with `task: embed`"),
        ({"select": {"by": "random", "keep": 2.5}}, "neither a whole number of questions nor a fraction"),
        ({"filter": {"by": "llm_verification"}}, "filter: the key 'model' is missing"),
        ({"filter": {"by": "fasttext", "keep": 5}}, "filter: the key 'examples' is missing"),
        ({"filter": {"candidates": 13}}, "filter.candidates: 13 is not a multiple of the 2 samples"),
        ({"filter": {"candidates": 12}, "draw": 6}, "`draw` says already how many questions are drawn"),
        ({"filter": {"candidates": 12, "keep": 13}}, "filter.keep: 13 of 12 candidates"),
        ({"filter": {"by": "random", "keep": 5, "options": {"keep": 4}}}, "filter.options.keep"),
    ],
)
def test_a_mistaken_filter_is_told_before_anything_runs(
    checkout: Checkout, config: dict[str, Any], domain: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout.folder)
    one = config["recipes"]["filter-none"]
    mistaken = merged(read_yaml(checkout.folder / "config.yaml"), {**config, "targets": ["filter-none"]})
    mistaken["recipes"] = {"filter-none": merged(one, {"domains": {"math": {"filter": {"by": "none"}, **domain}}})}
    with pytest.raises(ConfigurationError) as raised:
        make_plan(mistaken, read_catalog(config["catalog"]))
    assert message in str(raised.value)
