"""What stages buy together, beside what the store would hold: every key, enumerated."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from openthoughts.base.hashing import keyed_hash
from openthoughts.costs.estimates import estimate, total
from openthoughts.costs.sharing import Together
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_yaml, with_setting
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan, Stage

ROOT = Path(__file__).resolve().parents[2]
NUMBER = itertools.count()
SAMPLING = {"temperature": 1.0, "top_p": None, "max_tokens": 100}


def made(kind: str, settings: dict[str, Any], questions: Iterable[Stage] = (), **others: Any) -> Stage:
    inputs = {"questions": tuple(questions), **{role: (stage,) for role, stage in others.pop("inputs", {}).items()}}
    inputs = {role: stages for role, stages in inputs.items() if stages}
    return Stage(kind, f"x-{next(NUMBER)}", settings, inputs, others)


MODEL = made("model", {"name": "teacher"})


def answers(drawn: Stage, samples: int, seed: int = 1, model: Stage = MODEL) -> Stage:
    settings = {"samples": samples, "prompt": None, "sampling": SAMPLING, "seed": seed}
    return made("answers", settings, [drawn], inputs={"model": model}, shards=1)


def labels(clean: Stage, method: str = "difficulty", **settings: Any) -> Stage:
    settings = {"method": method, "prompt": "p", "sampling": SAMPLING, "seed": 1, "attempts": 1, **settings}
    return made("labels", settings, [clean], inputs={"model": MODEL}, shards=1)


def planned(stages: Iterable[Stage]) -> int:
    together = Together()

    def own(stage: Stage) -> int:
        rows = sum(together.rows(table, stage.kind == "answers") for table in stage.inputs["questions"])
        return rows * int(stage.settings.get("samples", 1))

    return round(sum(together.add(stage) * own(stage) for stage in stages))


class World:
    """Tables as they would really come out: stage -> the ids of its rows, in order."""

    def __init__(self, chance: random.Random, repeated: bool) -> None:
        self.chance = chance
        rows = chance.randint(6, 30)
        ids = [str(chance.randrange(rows // 2) if repeated else row) for row in range(rows)]
        source = made("source", {"name": "s"}, rows=rows)
        self.tables: dict[Stage, list[str]] = {source: ids}

    def add(self) -> None:
        """One more table, made of one that is there."""
        parent = self.chance.choice([stage for stage in self.tables if stage.kind != "drawn"])
        kind = self.chance.choice(["clean", "selected", "limited", "deduplicated", "drawn", "drawn", "drawn"])
        ids = self.tables[parent]
        settings: dict[str, Any] = {"rule": next(NUMBER)}
        if kind == "drawn":
            settings = {
                "count": self.chance.choice([None, self.chance.randint(1, 40)]),
                "seed": self.chance.choice([1, 2]),
            }
            if self.chance.random() < 0.3 and settings["count"]:
                settings["fill"] = True
        if kind == "selected":
            settings = {"by": "random", "keep": self.chance.choice([0.5, self.chance.randint(1, 40)]), "seed": 1}
        found = {
            "clean": lambda: [one for one in ids if self.chance.random() < 0.8],
            "limited": lambda: [one for one in ids if self.chance.random() < 0.8],
            "deduplicated": lambda: list(dict.fromkeys(ids)),
            "selected": lambda: first(ids, settings["keep"], 1),
            "drawn": lambda: first(ids, settings["count"], settings["seed"], bool(settings.get("fill"))),
        }[kind]()  # fmt: skip
        if found:
            self.tables[made(kind, settings, [parent])] = found

    def keys(self, stage: Stage) -> set[tuple[object, ...]]:
        """The store's keys of what a stage asks for."""
        samples, ids = stage.settings.get("samples", 1), self.tables[stage.input("questions")]
        form = (stage.settings.get("method", "answers"), stage.settings["seed"])
        if stage.kind == "labels":
            return {(*form, question, 0) for question in ids}
        return {(*form, one, sample) for one, rows in Counter(ids).items() for sample in range(rows * samples)}


def first(ids: list[str], count: float | None, seed: int, fill: bool = False) -> list[str]:
    """The first rows by their keyed hashes, as ``selection.draw`` takes them."""
    seen: Counter[str] = Counter()
    ranked = []
    for one in ids:
        ranked.append((keyed_hash(seed, one, seen[one]), one))
        seen[one] += 1
    ordered = [one for _, one in sorted(ranked)]
    if count is not None and count < 1:
        count = -(-len(ids) // 2)
    if fill and count is not None:
        ordered *= -(-int(count) // max(1, len(ordered)))
    return ordered if count is None else ordered[: int(count)]


@pytest.mark.parametrize("seed", range(150))
def test_what_is_planned_is_never_less_than_what_the_store_buys(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance, repeated=seed % 2 == 0)
    for _ in range(chance.randint(1, 8)):
        world.add()
    stages = []
    for _ in range(chance.randint(1, 7)):
        table = chance.choice(list(world.tables))
        if chance.random() < 0.3:
            stages.append(labels(table, attempts=next(NUMBER)))
        else:
            stages.append(answers(table, chance.choice([1, 2, 4]), chance.choice([1, 1, 1, 2])))
    bought = set().union(*(world.keys(stage) for stage in stages))
    alone = sum(planned([stage]) for stage in stages)
    assert len(bought) <= planned(stages) <= alone
    chance.shuffle(stages)
    assert len(bought) <= planned(stages), "in whichever order"


@pytest.mark.parametrize("seed", range(40))
def test_draws_of_one_table_are_planned_to_the_request(seed: int) -> None:
    chance = random.Random(seed)
    ids = [str(number) for number in range(50)]
    source = made("source", {"name": "s"}, rows=50)
    world = World(chance, repeated=False)
    world.tables = {source: ids}
    stages = []
    for _ in range(chance.randint(2, 6)):
        count = chance.randint(1, 50)
        drawn = made("drawn", {"count": count, "seed": 7}, [source])
        world.tables[drawn] = first(ids, count, 7)
        stages.append(answers(drawn, chance.choice([1, 2, 4, 16])))
    together = Together()
    for stage in stages:
        together.add(stage)
    assert planned(stages) == len(set().union(*(world.keys(stage) for stage in stages)))
    assert together.uncertain() == []


def test_an_overlap_that_nobody_knows_is_counted_in_full_and_told() -> None:
    source = made("source", {"name": "s"}, rows=100)
    draws = [made("drawn", {"count": 40, "seed": seed}, [source]) for seed in (1, 2, 3)]
    together = Together()
    assert [together.add(answers(drawn, 1)) for drawn in draws] == [1.0, 1.0, 0.5], "there are 100, not 120"
    assert together.uncertain() == ["answers"]
    mixes = [made("mixed", {"seed": seed}, [draws[0], draws[1]]) for seed in (1, 2)]
    together = Together()
    assert [together.add(answers(mixed, 1)) for mixed in mixes] == [1.0, 1.0]
    assert together.uncertain() == ["answers"], "both are mixed from the same source"


def test_other_sources_models_and_seeds_share_nothing() -> None:
    one, other = (made("source", {"name": name}, rows=10) for name in ("s", "t"))
    together = Together()
    teacher = made("model", {"name": "other"})
    stages = [answers(one, 1), answers(other, 1), answers(one, 1, seed=2), answers(one, 1, model=teacher)]
    assert [together.add(stage) for stage in stages] == [1.0] * 4
    assert together.uncertain() == []


def test_labels_of_one_source_are_asked_once() -> None:
    source = made("source", {"name": "s"}, rows=10)
    clean = [made("clean", {"n": number}, [source]) for number in (8, 13)]
    assert planned([labels(clean[0]), labels(clean[0], attempts=3)]) == 10, "the first attempt is the same"
    assert planned([labels(clean[0]), labels(clean[1])]) == 10, "both are part of one source"
    assert planned([labels(clean[0]), labels(clean[0], "ask_llm")]) == 20


@pytest.fixture(scope="module")
def arms() -> Plan:
    config = {**read_yaml(ROOT / "config.yaml"), "gpu": "h100", "targets": ["samples"]}
    for domain, count in (("math", 300), ("code", 20), ("science", 10)):
        config = with_setting(config, f"recipes.openthoughts3.domains.{domain}.draw", count)
    config["experiments"] = {"samples": {"base": "openthoughts3", "vary": {"answers.samples": [1, 4]}}}
    return make_plan(config, read_catalog([ROOT / "catalog"]))


def test_nested_samples_are_bought_once(arms: Plan) -> None:
    found = estimate(arms.experiments["samples"].stages())["answers"]
    alone = total(estimate([stage])["answers"] for stage in arms.index.values() if stage.kind == "answers")
    assert (alone.requests, found.requests) == (330 * 5, 330 * 4)
    assert found.output_tokens == pytest.approx(0.8 * alone.output_tokens)
    assert found.gpu_hours == pytest.approx(0.8 * alone.gpu_hours)
    assert found.asking_gpu_hours == pytest.approx(0.8 * alone.asking_gpu_hours)
    assert found.jobs == alone.jobs


def test_verdicts_on_shared_answers_are_shared() -> None:
    source = made("source", {"name": "s"}, rows=10)
    settings = {"method": "llm_verification", "prompt": "p", "sampling": SAMPLING, "seed": 1}
    few, many, other = answers(source, 1), answers(source, 4), answers(source, 4, seed=9)
    together = Together()
    judged = [
        made("assessed", settings, [source], inputs={"model": MODEL, "answers": each}) for each in (few, many, other)
    ]
    assert [together.add(stage) for stage in judged] == [1.0, 0.75, 1.0]
