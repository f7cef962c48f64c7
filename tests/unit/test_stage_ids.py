"""The ids of every stage of the default recipe, the demo and the shipped experiments: what is paid for is found again.

An id that changes makes finished work invisible. Where one has to change, run this file as a program to write the list
anew, and say in the change log which ids changed and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "tests/data/stage_ids.txt"


def configurations() -> Iterator[tuple[str, list[Path], str]]:
    """Name, files and size of every configuration that is shipped."""
    yield "default", [ROOT / "config.yaml"], "paper"
    yield "demo", [ROOT / "config.yaml", ROOT / "demo/config.yaml"], "paper"
    for path in sorted((ROOT / "experiments").glob("*.yaml")):
        if path.name != "base.yaml":
            for size in ("paper", "small", "demo"):
                yield f"{path.stem}@{size}", [ROOT / "config.yaml", path], size
    yield "default@pilot", [ROOT / "config.yaml"], "pilot"


def planned_ids(files: list[Path], size: str) -> list[str]:
    """``kind/id`` of every stage of a configuration, sorted."""
    config = read_config(files, json.dumps({"size": size}))
    return sorted(f"{kind}/{id}" for kind, id in make_plan(config, read_catalog(config["catalog"])).index)


def listing() -> str:
    """Every id once, behind the names of the first configuration that has it; a line per id."""
    seen: dict[str, str] = {}
    for name, files, size in configurations():
        for stage in planned_ids(files, size):
            seen.setdefault(stage, name)
    return "".join(f"{name} {stage}\n" for stage, name in seen.items())


def test_no_id_of_a_shipped_configuration_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    now, before = set(listing().splitlines()), set(LIST.read_text().splitlines())
    assert now - before == set(), "ids that are new"
    assert before - now == set(), "ids that are gone"


def test_a_plan_is_the_same_after_it_was_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name, files, size in (each for each in configurations() if not each[0].endswith(("@paper", "@small"))):
        config = read_config(files, json.dumps({"size": size}))
        plan = make_plan(config, read_catalog(config["catalog"]))
        written = json.dumps(plan.to_json())
        again = Plan.from_json(json.loads(written))
        assert json.dumps(again.to_json()) == written, name
        assert list(again.index) == list(plan.index)
        for recipe, planned in plan.recipes.items():
            assert [stage.name for stage in again.recipes[recipe].stages()] == [s.name for s in planned.stages()]
        for experiment, arms in plan.experiments.items():
            assert [s.name for s in again.experiments[experiment].stages()] == [s.name for s in arms.stages()]


if __name__ == "__main__":
    LIST.write_text(listing())
