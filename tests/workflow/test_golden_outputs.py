"""The contents of every stage that computes by itself, on a few questions, against what this version recorded.

An id holds the version of its kind of stage. So when a test here fails because an output changed on purpose, raise the
``version`` of that kind in ``openthoughts/plan/register.py`` and record the new digest under it: otherwise results
of before and after would share an id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import benchmark, completion, evaluation

import assemble_dataset
import compare_arms
import decontaminate
import deduplicate
import draw_questions
import filter_answers
import grade_answers
import limit_length
import measure_answers
import mix_sources
import parse_labels
import read_assessments
import read_written
import select_questions
from openthoughts.answers.filters import FILTERS
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import COMPLETIONS, write_table
from openthoughts.plan.register import KINDS

RECORDED: Mapping[tuple[str, int], str] = {
    ("written", 1): "d7ae68f5cebd5df7",
    ("clean", 1): "6b24d478cee609d1",
    ("labels", 1): "f45c9011b2748baa",
    ("selected", 1): "abfd2c376f0b272f",
    ("mixed", 1): "cfe3eee8ba6026fe",
    ("limited", 1): "e24dc696251dbea3",
    ("deduplicated", 1): "f78be261d6e5815c",
    ("drawn", 1): "32dbbc8139706970",
    ("measured", 2): "4b6dff565f44ea06",
    ("assessed", 1): "54b336b2c5fd0b28",
    ("filtered", 2): "1a9c713721a06db3",
    ("dataset", 2): "90d9d0797d6da727",
    ("evaluation", 1): "902d91af1e343913",
    ("experiment", 2): "307f9db6e2abc344",
}


def content(path: Path) -> list[object]:
    """The rows of a table and its columns, free of how the file is written (floats to 9 digits)."""
    table = pl.read_parquet(path)
    floats = [name for name, dtype in table.schema.items() if dtype.is_float()]
    return [table.columns, table.with_columns(pl.col(floats).round_sig_figs(9)).rows()]


def digest(*paths: Path) -> str:
    text = json.dumps([content(path) for path in paths], ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


SENTENCE = "how many ways are there to choose three points on a circle so that no two of them touch each other"
WORDS = SENTENCE.split()


def source(path: Path, name: str, start: int) -> Path:
    """Twelve questions: one leaks, one stands twice, one is nearly another, one is long."""
    texts = [f"{' '.join(WORDS[number % 7 :])}, if there are {number} points?" for number in range(start, start + 8)]
    texts += [LEAK, texts[0], texts[1].replace("circle", "circles"), "long " * 200]
    rows = {f"{name} {number}": text for number, text in enumerate(texts)}
    benchmark(path, {f"{key}": ("1/2", "{}") for key in rows}, name)
    table = pl.read_parquet(path).with_columns(question=pl.Series(list(rows.values())))
    ids = pl.Series("question_id", [question_id(text) for text in rows.values()])
    table.with_columns(ids).write_parquet(path)
    return path


def write_documents(folder: Path) -> None:
    """Twelve documents, and what a model wrote from them: of every third nothing, of one what cannot be read."""
    texts = pl.read_parquet(source(folder / "documents.parquet", "document", 60))["question"].unique(
        maintain_order=True
    )
    wrote = [
        json.dumps({"reasoning": "so", "question": f"Why {text}" if number % 3 else None})
        for number, text in enumerate(texts)
    ]
    rows = [completion(text, 0, answer) for text, answer in zip(texts, [*wrote[:-1], "no JSON"], strict=True)]
    write_table(pl.DataFrame(rows, dict(COMPLETIONS)).sort("question_id"), folder / "wrote.parquet", COMPLETIONS)


LEAK = "Let n be a positive integer such that n squared plus n plus one divides n to the power of 2025 plus twenty."


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Kind of stage -> the files that it made."""
    folder = tmp_path_factory.mktemp("golden")

    def at(name: str) -> str:
        return str(folder / f"{name}.parquet")

    made: dict[str, list[Path]] = {}

    def keep(kind: str, *names: str) -> None:
        made[kind] = [folder / f"{name}.parquet" for name in names]

    benchmark(folder / "benchmark.parquet", {LEAK: ("3", "{}"), "How much is two and two?": ("4", "{}")})
    write_documents(folder)
    given = ["--questions", at("documents"), "--completions", at("wrote"), "--step", "write"]
    assert read_written.main([*given, "--output", at("written"), "--dropped", at("unwritten")]) == 0
    keep("written", "written", "unwritten")
    for name, start in (("one", 3), ("two", 30)):
        source(folder / f"{name}.parquet", name, start)
        given = ["--questions", at(name), "--benchmarks", at("benchmark")]
        assert decontaminate.main([*given, "--output", at(f"{name}-clean"), "--dropped", at(f"{name}-leaks")]) == 0
        questions = pl.read_parquet(at(f"{name}-clean"))["question"].unique(maintain_order=True)
        labels = pl.DataFrame([completion(text, 0, "x" * (len(text) % 11)) for text in questions], dict(COMPLETIONS))
        write_table(labels.sort("question_id"), at(f"{name}-asked"), COMPLETIONS)
        given = ["--questions", at(f"{name}-clean"), "--completions", at(f"{name}-asked")]
        assert parse_labels.main([*given, "--method", "response_length", "--output", at(f"{name}-labels")]) == 0
        given = ["--questions", at(f"{name}-clean"), "--labels", at(f"{name}-labels"), "--by", "response_length"]
        given += ["--keep", "9", "--seed", "42", "--output", at(f"{name}-selected"), "--dropped", at(f"{name}-rest")]
        assert select_questions.main(given) == 0
    keep("clean", "one-clean", "one-leaks")
    keep("labels", "one-labels")
    keep("selected", "one-selected", "one-rest")
    given = ["--questions", at("one-selected"), at("two-selected"), "--seed", "42", "--output", at("mixed")]
    assert mix_sources.main(given) == 0
    keep("mixed", "mixed")
    given = ["--questions", at("mixed"), "--tokenizer", "qwen", "--max-tokens", "100"]
    assert limit_length.main([*given, "--output", at("limited"), "--dropped", at("long")]) == 0
    keep("limited", "limited", "long")
    given = ["--questions", at("limited"), "--level", "fuzzy", "--similarity", "97"]
    assert deduplicate.main([*given, "--output", at("deduplicated"), "--dropped", at("duplicates")]) == 0
    keep("deduplicated", "deduplicated", "duplicates")
    given = ["--questions", at("deduplicated"), "--count", "5", "--seed", "42"]
    assert draw_questions.main([*given, "--output", at("drawn"), "--dropped", at("undrawn")]) == 0
    keep("drawn", "drawn", "undrawn")

    texts = [
        r"<think>so</think>\boxed{1/2}",
        "The answer is 0.5.",
        r"\boxed{\frac12}",
        "I guess 7",
        None,
        "```python\n```",
    ]
    drawn = pl.read_parquet(at("drawn"))["question"].to_list()
    rows = [completion(text, sample, given) for text in drawn for sample, given in enumerate(texts)]
    write_table(pl.DataFrame(rows, dict(COMPLETIONS)).sort("question_id", "sample"), at("answers"), COMPLETIONS)
    options = dict.fromkeys(("random", "shortest", "longest"), '{"keep": 9}')
    options["short_paragraphs"] = '{"max_characters": 12}'
    options["columns"] = '{"where": {"agreement": [0.1, 1], "truncated": false}}'
    options["fasttext"] = '{"keep": 9, "at_least": 0.1}'
    given = ["--questions", at("drawn"), "--answers", at("answers"), "--output", at("measured")]
    assert measure_answers.main([*given, "--settings", '{"last_number": true, "programs": true}']) == 0
    keep("measured", "measured")
    came = pl.read_parquet(at("answers")).filter(pl.col("text").is_not_null())
    said = (pl.lit('{"reasoning": "so", "correct": true}'), pl.lit("no verdict"))
    verdict = pl.when(pl.col("sample") > 1).then(said[0]).otherwise(said[1])
    write_table(came.with_columns(text=verdict), at("verdicts"), COMPLETIONS)
    given = ["--answers", at("answers"), "--assessed", at("verdicts"), "--method", "llm_verification"]
    assert read_assessments.main([*given, "--output", at("assessed")]) == 0
    keep("assessed", "assessed")
    for name in FILTERS:
        given = ["--questions", at("drawn"), "--answers", at("answers"), "--by", name]
        given += ["--measured", at("measured"), "--assessed", at("assessed")]
        given += ["--options", options.get(name, "{}"), "--output", at(f"kept-{name}"), "--dropped", at(f"lost-{name}")]
        assert filter_answers.main(given) == 0
    keep("filtered", *[f"{part}-{name}" for name in sorted(FILTERS) for part in ("kept", "lost")])
    given = ["--domain", "math", at("drawn"), at("kept-majority"), at("measured")]
    given += ["--domain", "code", at("drawn"), at("kept-none"), at("measured")]
    given += ["--difficulty", "code", "--recipe", "golden", "--seed", "42", "--output", at("dataset")]
    given += [f"--{name}={folder / name}" for name in ("info", "card", "counts")]
    assert assemble_dataset.main(given) == 0
    keep("dataset", "dataset")

    for model, answer in (("base", "4"), ("student", "3")):
        responses = {question: [rf"\boxed{{{answer}}}", "hm"] for question in (LEAK, "How much is two and two?")}
        responses[LEAK][0] = r"\boxed{3}"
        evaluation(folder / f"{model}.parquet", {"sums": responses})
        given = ["--completions", at(model), "--benchmark", "sums", at("benchmark"), "math"]
        assert grade_answers.main([*given, "--output", at(f"{model}-grades"), "--scores", at(f"{model}-scores")]) == 0
    keep("evaluation", "base-grades", "base-scores", "student-grades", "student-scores")
    given = [text for arm in ("base", "student") for text in ("--arm", arm, at(f"{arm}-scores"), at(f"{arm}-grades"))]
    given += ["--experiment", "golden", "--compare-to", "base", "--output", at("compared")]
    given += [f"--{name}={folder / name}" for name in ("table", "plot", "summary")]
    assert compare_arms.main(given) == 0
    keep("experiment", "compared")
    return made


KNOWN = ["written", "clean", "labels", "selected", "mixed", "limited", "deduplicated", "drawn"]
KNOWN += ["measured", "assessed", "filtered", "dataset", "evaluation", "experiment"]


@pytest.mark.parametrize("kind", KNOWN)
def test_a_stage_makes_what_its_version_recorded(kind: str, outputs: dict[str, list[Path]]) -> None:
    assert all(not pl.read_parquet(path).is_empty() for path in outputs[kind] if "lost" not in path.name)
    found = digest(*outputs[kind])
    assert found == RECORDED.get((kind, KINDS[kind].version)), (
        f"the output of the stage {kind!r} changed: raise its version in scripts/openthoughts/plan/register.py "
        f"and record {found!r}"
    )
