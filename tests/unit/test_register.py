"""The register of stages is the only list of kinds, and says what the rules and programs say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from openthoughts.plan.expectations import served_entry
from openthoughts.plan.register import KINDS, engine_programs, inference
from openthoughts.plan.stages import Stage

ROOT = Path(__file__).resolve().parents[2]
REGISTER = ROOT / "scripts/openthoughts/plan/register.py"


def rules() -> dict[str, str]:
    """Rule -> its text."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "rules").rglob("*.smk")))
    found = re.findall(r"^(?:use rule \w+ as|rule) (\w+)(?: with)?:\n((?:(?: .*)?\n)+)", text, re.MULTILINE)
    return dict(found)


def outputs(rule: str) -> set[str]:
    """Paths below the results that a rule writes."""
    return set(re.findall(r'"<results>/(\S+?)"', rule.split("    output:\n", 1)[-1].split("    log:\n")[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_rule_that_writes_its_main_file(kind: str) -> None:
    written = {path for rule in rules().values() for path in outputs(rule)}
    assert f"{KINDS[kind].folder}/{{id}}/{KINDS[kind].file}" in written


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.drops])
def test_every_kind_that_drops_rows_has_a_rule_that_writes_them_down(kind: str) -> None:
    written = {path for rule in rules().values() for path in outputs(rule)}
    assert f"{KINDS[kind].folder}/{{id}}/dropped.parquet" in written


@pytest.mark.parametrize(
    ("kind", "program"), [(name, asks.program) for name, kind in KINDS.items() for asks in kind.asks]
)
def test_every_way_to_ask_has_a_rule_and_a_program(kind: str, program: str) -> None:
    (asks,) = [each for each in KINDS[kind].asks if each.program == program]
    rule = rules()[program]
    place = asks.file if asks.folder is None else f"{asks.folder}/{{shard}}-of-{{shards}}.parquet"
    assert f"{KINDS[kind].folder}/{{id}}/{place}" in outputs(rule)
    assert f'asking_threads("{kind}")' in rule
    assert f'**asking("{kind}", minutes=' in rule, "with its memory"
    assert (ROOT / f"scripts/{program}.py").is_file()


def test_every_rule_that_asks_stands_in_the_register() -> None:
    asking = {name for name, rule in rules().items() if '**asking("' in rule}
    trained = {kind.trained_by for kind in KINDS.values() if kind.trained_by}
    assert asking | trained == engine_programs()


def tables(path: Path) -> Iterator[tuple[int, list[ast.expr]]]:
    """Line and words of the literal collections of a module; of a dictionary the keys of a table of literals."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:  # rules, which are not Python
        return
    types = {node.slice for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.Set | ast.Tuple | ast.List):
            yield node.lineno, node.elts
        elif isinstance(node, ast.Dict) and all(isinstance(value, ast.Constant | ast.Tuple) for value in node.values):
            yield node.lineno, [key for key in node.keys if key]


HOMONYMS = ({"sources", "benchmarks", "models"}, {"dataset", "model"})
"""Sections of the catalog, and kinds of repositories of the hub, which are named as kinds of stages are."""


def test_no_other_module_lists_kinds() -> None:
    names = set(KINDS) | {kind.folder for kind in KINDS.values()}
    found = []
    for path in sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "rules").rglob("*.smk")]):
        for line, elements in tables(path) if path != REGISTER else ():
            words = {each.value if isinstance(each, ast.Constant) else None for each in elements}
            if len(words) > 1 and words <= names and not any(words <= other for other in HOMONYMS):
                found.append(f"{path.relative_to(ROOT)}:{line} lists {', '.join(sorted(map(str, words)))}")
    assert found == []


def model(**entry: object) -> Stage:
    """A model of the catalog."""
    return Stage("model", "m-0123456789ab", {"name": "m"}, {}, {"kind": "local", **entry})


def asking(kind: str, *roles: str, **settings: object) -> Stage:
    """A stage that asks a model on four GPUs, or a student trained from it."""
    served = model(serving={"tensor_parallel": 4})
    student = Stage("student", "s-0123456789ab", {}, {"model": (served,)})
    inputs = {role: (served if role == "model" else student,) for role in roles}
    return Stage(kind, "a-0123456789ab", settings, {**inputs, "model": (student if kind == "evaluation" else served,)})


@pytest.mark.parametrize(
    ("kind", "roles", "program"),
    [
        ("written", ("questions",), "write_questions"),
        ("labels", ("questions",), "label_questions"),
        ("labels", ("questions", "direction"), "embed_questions"),
        ("direction", ("positives", "negatives"), "embed_examples"),
        ("answers", ("questions",), "sample_answers"),
        ("assessed", ("questions", "answers"), "verify_answers"),
        ("evaluation", ("benchmarks",), "sample_evaluation"),
        ("judged", ("questions", "evaluation"), "judge_answers"),
    ],
)
def test_an_engine_gets_its_memory_and_cores_whoever_asks(kind: str, roles: tuple[str, ...], program: str) -> None:
    stage = asking(kind, *roles)
    asks = inference(stage)
    assert asks is not None
    assert asks.program == program
    entry = served_entry(stage.input("model"))
    assert asks.threads(entry, 4) == 13
    assert [asks.memory_mb(4, attempt) for attempt in (1, 2, 3)] == [192_000, 384_000, 384_000]
    assert (asks.threads(entry, 0), asks.memory_mb(0)) == (4, 8_000), "an engine on processors"
    assert asks.threads({"kind": "api"}, 0) == 1


def test_a_stage_without_a_model_asks_nobody() -> None:
    scored = Stage("labels", "a-0123456789ab", {"method": "fasttext"}, {"questions": ()})
    tokenised = Stage("tokenized", "a-0123456789ab", {}, {"model": (model(),)})
    assert inference(scored) is None
    assert inference(tokenised) is None
