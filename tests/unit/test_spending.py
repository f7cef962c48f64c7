"""What stages have taken, read off what they left behind: each answer once, and the GPUs of each stage."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.answer_tables import completion

from openthoughts.base.tables import COMPLETIONS, write_table
from openthoughts.costs.estimates import estimates_of_kinds
from openthoughts.costs.spending import spent
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_yaml
from openthoughts.plan.planner import make_plan
from openthoughts.plan.register import engine_programs
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.page.sections import Sources, spending_section

ROOT = Path(__file__).resolve().parents[2]


def write_completions(path: Path, answers: int) -> None:
    rows = [completion(f"Question {number}?", 0, "Because.") for number in range(answers)]
    write_table(pl.DataFrame(rows, dict(COMPLETIONS)).sort("question_id"), path, COMPLETIONS)


def write_usage(folder: Path, rule: str, identity: str, hours: float) -> None:
    path = folder / rule / f"{identity}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"s": 3600 * hours}) + "\n")


@pytest.mark.parametrize(("kind", "folder"), [("labels", "completions"), ("answers", "shards")])
def test_shards_of_an_earlier_division_are_not_counted_again(kind: str, folder: str, tmp_path: Path) -> None:
    stage = tmp_path / kind / "sums-0123456789ab"
    write_completions(stage / folder / "0-of-1.parquet", 10)
    for shard, answers in enumerate((4, 6)):
        write_completions(stage / folder / f"{shard}-of-2.parquet", answers)
    assert spent(stage, tmp_path / "usage", shards=2).requests == 10
    assert spent(stage, tmp_path / "usage", shards=1).requests == 10
    (stage / folder / "1-of-2.parquet").unlink()
    assert spent(stage, tmp_path / "usage", shards=2).requests == 4, "what is done of the division that is planned"


def test_a_merged_or_single_table_is_what_counts(tmp_path: Path) -> None:
    stage = tmp_path / "evaluations" / "student-0123456789ab"
    write_completions(stage / "completions.parquet", 3)
    assert spent(stage, tmp_path / "usage").requests == 3
    answers = tmp_path / "answers" / "math-0123456789ab"
    write_completions(answers / "shards/0-of-1.parquet", 5)
    write_completions(answers / "completions.parquet", 5)
    assert spent(answers, tmp_path / "usage", shards=1).requests == 5


def test_every_rule_that_asks_a_model_may_hold_gpus() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    rules = re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)+)", text, re.MULTILINE)
    asking = {name for name, body in rules if "+ ASKING" in body}
    assert len(asking) == 8
    assert asking | {"train_student"} == engine_programs()


def two_teachers(accelerator: str) -> list[dict[str, Any]]:
    """What is planned of a recipe whose domains are answered by models on four GPUs, and by a hosted one."""
    config = read_yaml(ROOT / "config.yaml")
    config["recipes"]["openthoughts3"]["domains"]["code"]["answers"] = {"teacher": "gpt-4o-mini"}
    recipe = make_plan(config, read_catalog([ROOT / "catalog"])).recipes["openthoughts3"]
    return estimates_of_kinds(recipe.stages(), accelerator)


def test_gpus_are_told_stage_by_stage() -> None:
    (answers,) = [row for row in two_teachers("cuda") if row["stage"] == "answers"]
    by_domain = {identity.partition("-")[0]: gpus for identity, gpus in answers["gpus"].items()}
    assert by_domain == {"math": 4, "code": 0, "science": 4}
    assert set(answers["shards"]) == set(answers["gpus"])
    assert all(not row["gpus"] for row in two_teachers("cpu"))


def test_a_page_charges_each_stage_its_own_gpus(tmp_path: Path) -> None:
    planned = two_teachers("cuda")
    (answers,) = [row for row in planned if row["stage"] == "answers"]
    stages = []
    for identity in answers["gpus"]:
        path = tmp_path / "answers" / identity / "completions.parquet"
        write_completions(path, 2)
        write_usage(tmp_path / "usage", "sample_answers", identity, 0.5)
        stages.append(Stage("answers", identity.partition("-")[0], identity, path))
    section = spending_section(Sources(Recipe.of("r", stages), tmp_path / "usage", (), planned))
    assert section is not None
    (table,) = section.tables
    place = list(table.columns).index("GPU-hours, planned") + 1
    (told,) = [row for row in table.rows if row[0] == "answers"]
    assert told[place] == pytest.approx(0.5 * 4 + 0.5 * 4)
    assert told[-1] == pytest.approx(3 * 0.5)
