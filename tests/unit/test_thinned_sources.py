"""A share of each source is looked at: chosen by the question, counted, planned before anything is asked."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import thin_source
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash, question_id
from openthoughts.base.tables import DROPPED, QUESTIONS
from openthoughts.costs.estimates import Estimate, estimate, total
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import ConfigurationError, merged, prepared, read_config
from openthoughts.plan.expectations import expected_rows
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan

ROOT = Path(__file__).resolve().parents[2]
QUESTION_COUNT = 400


def write_source(folder: Path) -> Path:
    """A source of 400 different questions, each in one to three rows that do not stand together."""
    rows = [
        (question_id(text), text, "math", "own", f"{number}-{again}", None, "{}")
        for again in range(3)
        for number in range(QUESTION_COUNT)
        if again <= number % 3
        for text in [f"What is {number} squared?"]
    ]
    path = folder / "source.parquet"
    pl.DataFrame(rows, schema=dict(QUESTIONS), orient="row").write_parquet(path)
    return path


def thinned(folder: Path, share: float, least: int = 1, seed: int = 42) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the program keeps and drops of the source."""
    kept, dropped = folder / "kept.parquet", folder / "dropped.parquet"
    given = [
        "--questions",
        str(write_source(folder)),
        "--share",
        str(share),
        "--least",
        str(least),
        "--seed",
        str(seed),
    ]
    assert thin_source.main([*given, "--output", str(kept), "--dropped", str(dropped)]) == 0
    return pl.read_parquet(kept), pl.read_parquet(dropped)


class TestTheChoice:
    def test_all_rows_of_the_questions_below_the_share_stay_in_their_order(self, tmp_path: Path) -> None:
        kept, _ = thinned(tmp_path, 0.25)
        source = pl.read_parquet(tmp_path / "source.parquet")
        below = {one for one in source["question_id"] if keyed_hash(42, one, salt="thin") / 2**64 < 0.25}
        assert kept.equals(source.filter(pl.col("question_id").is_in(list(below))))
        assert 0.15 * QUESTION_COUNT < kept["question_id"].n_unique() < 0.35 * QUESTION_COUNT
        assert list(kept.columns) == list(QUESTIONS)

    def test_what_is_left_out_is_counted_with_its_reason(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        kept, dropped = thinned(tmp_path, 0.25)
        source = pl.read_parquet(tmp_path / "source.parquet")
        assert set(DROPPED) <= set(dropped.columns)
        assert kept.height + dropped.height == source.height
        assert set(kept["source_row"]) | set(dropped["source_row"]) == set(source["source_row"])
        questions = kept["question_id"].n_unique()
        assert dropped["reason"].unique().to_list() == [f"not among the {questions} questions looked at"]
        said = f"{questions} of {QUESTION_COUNT} different questions, {kept.height} of {source.height} rows stay"
        assert said in caplog.text

    def test_a_larger_share_keeps_what_a_smaller_one_kept(self, tmp_path: Path) -> None:
        shares = [set(thinned(tmp_path, share)[0]["source_row"]) for share in (0.01, 0.1, 0.5, 1)]
        assert all(smaller < larger for smaller, larger in itertools.pairwise(shares))
        assert len(shares[-1]) == pl.read_parquet(tmp_path / "source.parquet").height

    def test_a_small_source_keeps_the_least_number_and_no_more_than_it_has(self, tmp_path: Path) -> None:
        few = thinned(tmp_path, 0.01, least=50)[0]
        assert few["question_id"].n_unique() == 50
        assert set(few["question_id"]) < set(thinned(tmp_path, 0.01, least=60)[0]["question_id"])
        assert thinned(tmp_path, 0.01, least=1000)[0]["question_id"].n_unique() == QUESTION_COUNT

    def test_another_seed_chooses_others(self, tmp_path: Path) -> None:
        assert set(thinned(tmp_path, 0.1)[0]["source_row"]) != set(thinned(tmp_path, 0.1, seed=7)[0]["source_row"])

    @pytest.mark.parametrize(("share", "least"), [("0", "1"), ("1.5", "1"), ("0.1", "0")])
    def test_a_share_that_cannot_be_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], share: str, least: str
    ) -> None:
        given = ["--questions", str(write_source(tmp_path)), "--share", share, "--least", least, "--seed", "1"]
        assert thin_source.main([*given, "--output", "x", "--dropped", "y"]) == 1
        assert ("--least" if least == "0" else "--share") in capsys.readouterr().err


def planned(changes: Mapping[str, Any], *folders: Path, size: str = "paper") -> Plan:
    """The plan of the default configuration with changes laid over it."""
    config = merged(read_config([ROOT / "config.yaml"], json.dumps({"size": size})), changes)
    return make_plan(config, read_catalog([ROOT / "catalog", *folders]))


def of(share: float, **more: Any) -> dict[str, Any]:
    """The default recipe over a share of its sources, which may keep and draw fewer questions."""
    domains = {name: {"short": "allowed"} for name in ("math", "code", "science")}
    return {"recipes": {"openthoughts3": {"thin": {"share": share, **more}, "domains": domains}}}


class TestThePlan:
    def test_a_recipe_that_looks_at_everything_has_no_such_stage_and_keeps_its_ids(self) -> None:
        assert set(planned(of(1.0, seed=7)).index) == set(planned({}).index)

    def test_what_is_asked_about_a_source_follows_its_share(self) -> None:
        whole, tenth = (estimate(planned(each).recipes["openthoughts3"].stages()) for each in ({}, of(0.1)))
        assert tenth["labels"].requests == pytest.approx(whole["labels"].requests / 10, rel=0.01)
        assert tenth["labels"].usd == pytest.approx(whole["labels"].usd / 10, rel=0.01)
        assert tenth["labels"].jobs < whole["labels"].jobs / 2

    def test_no_source_is_expected_to_keep_fewer_than_the_least(self) -> None:
        stages = planned(of(0.0001, least=500)).recipes["openthoughts3"].stages()
        rows = [expected_rows(stage) for stage in stages if stage.kind == "thinned"]
        assert len(rows) == 5
        assert all(each is not None and each >= 500 for each in rows)

    def test_the_documents_of_a_written_source_are_thinned_before_a_model_reads_them(self, tmp_path: Path) -> None:
        (tmp_path / "pages.jsonl").write_text('{"text": "a"}\n')
        documents = {"connector": "local", "path": str(tmp_path / "pages.jsonl"), "column": "text"}
        entry = {"connector": "written", "domain": "math", "documents": documents, "model": "gpt-4o-mini"}
        (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"pages": {**entry, "rows": 200_000}}))
        changes = merged(of(0.1), {"recipes": {"openthoughts3": {"domains": {"math": {"sources": ["pages"]}}}}})
        plan = planned(changes, tmp_path)
        written = [stage for stage in plan.index.values() if stage.kind == "written"]
        first = next(stage for stage in written if stage.settings["step"] == "write")
        assert first.input("questions").kind == "thinned"
        assert first.input("questions").input("questions").kind == "source"
        assert [each.requests for each in (estimate([stage])["written"] for stage in written)] == [20_000] * 3

    def test_a_domain_may_take_another_share_than_the_recipe(self) -> None:
        changes = merged(of(0.1), {"recipes": {"openthoughts3": {"domains": {"code": {"thin": {"share": 1.0}}}}}})
        names = {stage.id.rpartition("-")[0] for stage in planned(changes).index.values() if stage.kind == "thinned"}
        assert names == {"openmath-2-math", "stackexchange-physics", "organic-chemistry"}

    def test_a_share_above_one_is_told_where_it_stands(self) -> None:
        with pytest.raises(ConfigurationError, match=r"recipes\.openthoughts3\.thin\.share: 2"):
            planned(of(2.0))


class TestSizes:
    def test_a_size_multiplies_every_share_and_gives_one_to_every_recipe(self) -> None:
        recipes = {"a": {}, "b": {"thin": {"share": 0.5}, "domains": {"math": {"thin": {"share": 0.2, "least": 9}}}}}
        experiments = {"x": {"vary": {"thin.share": [1, 0.5]}, "arms": {"y": {"domains.math.thin.share": 0.1}}}}
        config = {"recipes": recipes, "experiments": experiments, "size": "s", "sizes": {"s": {"sources": 0.1}}}
        sized = prepared(config)
        assert sized["recipes"]["a"] == {"thin": {"share": 0.1}}
        assert sized["recipes"]["b"]["thin"] == {"share": 0.05}
        assert sized["recipes"]["b"]["domains"]["math"]["thin"] == pytest.approx({"share": 0.02, "least": 9})
        assert sized["experiments"]["x"]["vary"]["thin.share"] == pytest.approx([0.1, 0.05])
        assert sized["experiments"]["x"]["arms"]["y"]["domains.math.thin.share"] == pytest.approx(0.01)

    def test_a_size_of_fewer_questions_leaves_the_sources_whole(self) -> None:
        config = {"recipes": {"a": {"draw": 100}}, "size": "s", "sizes": {"s": {"questions": 0.1}}}
        assert prepared(config)["recipes"] == {"a": {"draw": 10}}

    @pytest.mark.parametrize("share", ["x", 0, -1, True, None, 2])
    def test_a_share_that_cannot_be_is_told(self, share: Any) -> None:
        with pytest.raises(UserError, match=r"^sizes\.s\.sources is .*: give a share"):
            prepared({"size": "s", "sizes": {"s": {"sources": share}}})


class TestThePilot:
    """`size=pilot` is the whole recipe for about a hundredth of the cost."""

    @staticmethod
    def costs(size: str) -> dict[str, Estimate]:
        plan = planned({"gpu": "h100"}, size=size)
        stages = plan.recipes["openthoughts3"].stages()
        return {**estimate(stages), "total": total(estimate(stages).values())}

    def test_every_column_of_every_stage_is_at_most_two_hundredths(self) -> None:
        whole, pilot = self.costs("paper"), self.costs("pilot")
        assert set(pilot) == set(whole) | {"thinned"}
        for kind in ("labels", "answers", "student", "total"):
            for column in ("requests", "input_tokens", "output_tokens", "usd", "usd_batch", "gpu_hours", "usd_high"):
                least, most = 0.005 * getattr(whole[kind], column), 0.02 * getattr(whole[kind], column)
                assert least <= getattr(pilot[kind], column) <= most, (kind, column)
        assert pilot["total"].unknown == whole["total"].unknown

    def test_it_keeps_and_draws_a_hundredth_of_the_questions_of_every_domain(self) -> None:
        whole, pilot = (planned({}, size=size).recipes["openthoughts3"] for size in ("paper", "pilot"))
        for domain, stages in whole.domains.items():
            drawn = pilot.domains[domain]["drawn"].settings["count"]
            assert math.isclose(drawn, stages["drawn"].settings["count"] / 100, abs_tol=1)
            expected = expected_rows(pilot.domains[domain]["mixed"])
            assert expected is not None
            assert expected >= drawn

    def test_it_is_the_same_stages_but_those_that_thin(self) -> None:
        def shape(size: str) -> set[str]:
            stages = planned({}, size=size).recipes["openthoughts3"].stages()
            return {f"{stage.kind}/{stage.id.rpartition('-')[0]}" for stage in stages if stage.kind != "benchmark"}

        added = shape("pilot") - shape("paper")
        assert {name.partition("/")[0] for name in added} == {"thinned"}
        assert shape("paper") <= shape("pilot")
