"""The plan: ids that follow what a result is made of, and every problem of a configuration at once."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openthoughts.base.cli import UserError
from openthoughts.plan.arms import arm_overrides
from openthoughts.plan.catalog import Catalog, Prompt
from openthoughts.plan.config import ConfigurationError, prepared, with_setting
from openthoughts.plan.parts.experiments import benchmark_groups
from openthoughts.plan.planner import make_plan
from openthoughts.plan.recipe_warnings import signature_warnings
from openthoughts.plan.settings.experiment import Experiment
from openthoughts.plan.settings.recipe import Domain
from openthoughts.plan.shards import asked_shards
from openthoughts.plan.stages import Plan

CATALOG = Catalog(
    sources={
        "algebra": {"connector": "hub", "domain": "math", "rows": 120_000, "licence": "mit"},
        "geometry": {"connector": "hub", "domain": "math", "rows": 10},
        "puzzles": {"connector": "hub", "domain": "code", "rows": 10},
    },
    benchmarks={
        "olympiad": {"connector": "hub", "domain": "math", "grader": "math", "samples": 3, "reference": "a"},
        "trivia": {"connector": "hub", "domain": "math", "grader": "choice", "reference": "a", "choices": "c"},
        "programs": {"connector": "hub", "domain": "code", "grader": "none"},
    },
    models={
        "teacher": {"kind": "hub", "repository": "a/b", "tokenizer": "qwen", "serving": {"concurrency": 4}},
        "other": {"kind": "hub", "repository": "a/c"},
        "hosted": {"kind": "api", "api_model": "m"},
        "student": {"kind": "hub", "repository": "a/d", "template": "qwen", "max_model_len": 512},
    },
    scales={"tiny": {"save_steps": 5, "global_batch": 64, "cutoff": 512, "learning_rate": 1e-5, "epochs": 2}},
    prompts={"rubric": Prompt("catalog/prompts/rubric.md", "0123456789abcdef")},
)

CONFIG: dict[str, Any] = {
    "targets": ["small"],
    "recipes": {
        "small": {
            "decontaminate": {"benchmarks": ["olympiad", "trivia", "programs"]},
            "answers": {"teacher": "teacher", "samples": 4, "sampling": {"max_tokens": 300}},
            "domains": {
                "math": {
                    "sources": ["algebra", "geometry"],
                    "select": {"by": "response_length", "model": "teacher", "keep": 11},
                    "draw": 8,
                },
                "code": {"sources": ["puzzles"], "select": {"by": "random"}, "deduplicate": {"level": "none"}},
            },
            "training": {"student": "student", "scale": "tiny"},
            "evaluation": {"benchmarks": ["olympiad"]},
        }
    },
}


def plan(*changes: tuple[str, Any], catalog: Catalog = CATALOG) -> Plan:
    """The plan of ``CONFIG`` with some dotted settings changed."""
    config = copy.deepcopy(CONFIG)
    for path, value in changes:
        config = with_setting(config, path, value)
    return make_plan(config, catalog)


def ids(made: Plan) -> set[tuple[str, str]]:
    return {(stage.kind, stage.id) for recipe in made.recipes.values() for stage in recipe.stages()}


def changed_kinds(*changes: tuple[str, Any], catalog: Catalog = CATALOG) -> set[str]:
    """Kinds of the stages that a change makes anew."""
    return {kind for kind, _ in ids(plan(*changes, catalog=catalog)) - ids(plan())}


def test_the_examples_of_a_classifier_are_no_questions_of_the_recipe() -> None:
    examples = {"positives": [{"source": "algebra", "model": "hosted"}], "negatives": ["puzzles"]}
    learnt = {"by": "fasttext", "keep": 5, "examples": examples}
    with_examples, without = (
        plan(("recipes.small.domains.math.filter", learnt)).recipes["small"],
        plan().recipes["small"],
    )
    assert {stage.kind for stage in set(with_examples.questions())} == {
        "source", "clean", "selected", "mixed", "limited", "deduplicated", "drawn",
    }  # fmt: skip
    assert [stage.id for stage in with_examples.questions()] == [stage.id for stage in without.questions()]
    drawn = [stage for stage in with_examples.stages() if stage.kind == "drawn"]
    assert len(drawn) == 3, "one of them draws examples"


@pytest.mark.parametrize(("key", "value"), [("samples", 5), ("grader", "letter"), ("prompt", "rubric")])
def test_how_a_benchmark_is_answered_is_part_of_the_ids_of_evaluations_only(key: str, value: Any) -> None:
    catalog = copy.deepcopy(CATALOG)
    catalog.benchmarks["olympiad"][key] = value
    assert changed_kinds(catalog=catalog) == {"evaluation"}


AFTER_ANSWERS = {"dataset", "tokenized", "student", "evaluation"}


@pytest.mark.parametrize(
    ("path", "value", "made_anew"),
    [
        ("recipes.small.answers.samples", 8, {"answers", "measured", "filtered"} | AFTER_ANSWERS),
        ("recipes.small.filter.by", "majority", {"filtered"} | AFTER_ANSWERS),
        ("recipes.small.training.seed", 1, {"student", "evaluation"}),
        ("recipes.small.training.overrides", {"learning_rate": 2.0e-5}, {"student", "evaluation"}),
        ("recipes.small.evaluation.benchmarks", ["olympiad", "trivia"], {"evaluation", "benchmark"} - {"benchmark"}),
        ("recipes.small.domains.math.draw", 9, {"drawn", "answers", "measured", "filtered"} | AFTER_ANSWERS),
        (
            "recipes.small.limit.max_tokens",
            99,
            {"limited", "deduplicated", "drawn", "answers", "measured", "filtered"} | AFTER_ANSWERS,
        ),
    ],
)
def test_a_changed_setting_makes_its_stage_and_what_follows_anew(path: str, value: Any, made_anew: set[str]) -> None:
    assert changed_kinds((path, value)) == made_anew


def test_answers_that_would_not_be_trained_on_are_warned_about() -> None:
    longer = ("recipes.small.answers.sampling.max_tokens", 500)
    math, code = plan(longer).warnings
    assert math.startswith("small.math: answers may have 500 tokens, and rows whose answer has more than about 402")
    assert code.startswith("small.code: ")
    assert not plan(longer, ("recipes.small.training.overrides", {"over_cutoff": "cut"})).warnings
    assert not plan(longer, ("recipes.small.training.overrides", {"most_lost": 0.5})).warnings
    assert "ends the run" in plan(longer, ("recipes.small.training.overrides", {"over_cutoff": "fail"})).warnings[0]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"over_cutoff": "dropp"}, "overrides.over_cutoff: over_cutoff of the training scale is 'dropp' (did you"),
        ({"most_lost": 10}, "overrides.most_lost: most_lost of the training scale is 10: it must be a share"),
        (
            {"empty_thinking": True, "epoch": 1},
            "overrides.empty_thinking: empty_thinking of the training scale is True (known: answer, none, prompt)",
        ),
        (
            {"empty_thinking": True, "epoch": 1},
            "overrides.epoch: the training scale has no setting 'epoch' (did you mean epochs?)",
        ),
        ({"epochs": None}, "overrides.epochs: the training scale lacks epochs (or max_steps)"),
    ],
)
def test_a_mistaken_rule_of_rows_is_refused_with_the_plan(overrides: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        plan(("recipes.small.training.overrides", overrides))
    assert any(each.startswith(f"recipes.small.training.{problem}") for each in refused.value.problems)


def test_the_rules_of_rows_name_the_student_only_where_they_are_changed() -> None:
    assert changed_kinds(("recipes.small.training.overrides", {"over_cutoff": "drop", "most_lost": 0.1})) == set()
    changed = changed_kinds(("recipes.small.training.overrides", {"over_cutoff": "published"}))
    assert changed == {"tokenized", "student", "evaluation"}


def test_what_weakened_students_in_the_paper_is_warned_about() -> None:
    assert not plan().warnings
    many = {name: {"connector": "hub", "domain": "code", "rows": 10} for name in "abcdef"}
    large = {"kind": "hub", "repository": "a/e", "tokenizer": "qwen", "parameters": 70e9}
    catalog = replace(CATALOG, sources={**CATALOG.sources, **many}, models={**CATALOG.models, "large": large})
    mixed = ("recipes.small.domains.code.sources", list(many))
    (warning,) = plan(mixed, catalog=catalog).warnings
    assert warning.startswith("small.code: 6 sources are mixed")
    assert not plan(mixed, ("recipes.small.domains.code.top", 4), catalog=catalog).warnings
    warnings = plan(("recipes.small.answers.teacher", "large"), catalog=catalog).warnings
    assert [warning.split(";")[0] for warning in warnings] == ["small.math: large answers", "small.code: large answers"]
    select = {"by": "fasttext"}
    block = Domain.model_validate({"sources": ["a"], "select": select, "answers": {"teacher": "teacher"}})
    (classical,) = signature_warnings("small.code", "code", block, catalog)
    assert "classical filters were no better than a random choice" in classical


def test_a_source_of_another_domain_is_warned_about_and_a_misspelt_domain_is_refused() -> None:
    other = {"connector": "hub", "domain": "code", "rows": 100}
    sources = ("recipes.small.domains.math.sources", ["other"])
    catalog = replace(CATALOG, sources={**CATALOG.sources, "other": other})
    assert plan(sources, catalog=catalog).warnings == (
        "small.math: other is of the domain code; its rows keep that name in the dataset.",
    )
    misspelt = replace(CATALOG, sources={**CATALOG.sources, "other": {**other, "domain": "maths"}})
    with pytest.raises(ConfigurationError) as caught:
        plan(sources, catalog=misspelt)
    assert caught.value.problems == [
        "recipes.small.domains.math.sources.0: other is of the domain 'maths' in its entry (did you mean math?)"
    ]


def test_the_rule_of_fuzzy_duplicates_counts_where_they_are_fuzzy() -> None:
    fuzzy = ("recipes.small.domains.math.deduplicate.level", "fuzzy")
    kept, other = ((fuzzy, ("recipes.small.domains.math.deduplicate.rule", rule)) for rule in ("kept", "any"))
    assert ids(plan(fuzzy)) == ids(plan(*kept))
    assert "deduplicated" in {kind for kind, _ in ids(plan(*other)) - ids(plan(fuzzy))}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipes.small.answers.shards", 7),
        ("recipes.small.decontaminate.sensitivity", True),
        ("recipes.small.domains.math.deduplicate.rule", "any"),
        ("recipes.small.answers.answers_per_shard", 2),
        ("recipes.small.domains.math.select.questions_per_shard", 5),
        ("recipes.small.training.nodes", 4),
        ("recipes.small.training.overrides", {"save_steps": 50}),
        ("recipes.small.training.gpus", 4),
        ("accelerator", "cpu"),
        ("max_failed", 0.5),
        ("store", "elsewhere"),
    ],
)
def test_how_a_stage_is_run_is_no_part_of_its_id(path: str, value: Any) -> None:
    assert changed_kinds((path, value)) == set()


def test_descriptions_and_serving_of_the_catalog_are_no_part_of_an_id() -> None:
    models = copy.deepcopy(dict(CATALOG.models))
    endpoint = {"base_url": "http://gpu1:8000/v1"}
    models["teacher"] = {**models["teacher"], "serving": {"tensor_parallel": 8}, "licence": "mit", "endpoint": endpoint}
    sources = {
        **CATALOG.sources,
        "algebra": {**CATALOG.sources["algebra"], "licence": "odc-by", "rows": 99, "questions": 20},
    }
    catalog = Catalog(sources, CATALOG.benchmarks, models, CATALOG.scales, CATALOG.prompts)
    assert changed_kinds(catalog=catalog) == set()


def test_arguments_of_an_engine_that_may_change_answers_are_part_of_ids() -> None:
    models = copy.deepcopy(dict(CATALOG.models))
    models["teacher"] = {**models["teacher"], "serving": {"engine_args": "--max-num-seqs 64"}}
    assert changed_kinds(catalog=replace(CATALOG, models=models)) == set()
    models["teacher"] = {**models["teacher"], "serving": {"engine_args": "--kv-cache-dtype fp8"}}
    assert {"model", "answers"} <= changed_kinds(catalog=replace(CATALOG, models=models))


def test_a_pin_is_part_of_the_id_of_what_it_pins_and_of_all_that_follows() -> None:
    catalog = Catalog(
        CATALOG.sources, CATALOG.benchmarks, CATALOG.models, CATALOG.scales, CATALOG.prompts,
        lock={"sources": {"puzzles": {"revision": "f" * 40}}},
    )  # fmt: skip
    anew = ids(plan(catalog=catalog)) - ids(plan())
    assert {id.rsplit("-", 1)[0] for kind, id in anew if kind in {"source", "clean", "selected"}} == {"puzzles"}
    assert not any(id.startswith("math-") for kind, id in anew if kind == "answers")


def test_a_number_is_one_setting_however_it_is_written() -> None:
    sampling = "recipes.small.answers.sampling"
    whole, real = ({"temperature": temperature, "max_tokens": 300} for temperature in (1, 1.0))
    assert ids(plan((sampling, whole))) == ids(plan((sampling, real))) == ids(plan())


def test_a_domain_can_override_one_setting_of_decontamination() -> None:
    made = plan(("recipes.small.domains.code.decontaminate", {"similarity": 80})).recipes["small"]
    (selected,) = made.domains["code"]["mixed"].inputs["questions"]
    clean = selected.input("questions")
    assert clean.settings["similarity"] == 80
    assert len(clean.inputs["benchmarks"]) == 3


def test_a_file_inside_an_entry_is_pinned_by_its_content_too(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    planted = {
        "connector": "planted", "domain": "code", "exact": 1, "seed": 1,
        "originals": {"connector": "local", "path": str(path), "column": "question"},
    }  # fmt: skip
    catalog = Catalog(
        {**CATALOG.sources, "puzzles": planted}, CATALOG.benchmarks, CATALOG.models, CATALOG.scales, CATALOG.prompts
    )
    path.write_text("one")
    before = ids(plan(catalog=catalog))
    path.write_text("two")
    assert ids(plan(catalog=catalog)) != before


def test_domains_take_the_recipes_settings_and_override_them() -> None:
    made = plan(("recipes.small.domains.code.answers.samples", 2)).recipes["small"]
    assert made.domains["math"]["answers"].settings["samples"] == 4
    assert made.domains["code"]["answers"].settings["samples"] == 2


def test_the_questions_kept_are_shared_by_the_sources() -> None:
    selected = plan().recipes["small"].domains["math"]["mixed"].inputs["questions"]
    assert [stage.settings["keep"] for stage in selected] == [6, 5]


def test_top_takes_the_first_sources_and_divides_among_them() -> None:
    made = plan(("recipes.small.domains.math.top", 1)).recipes["small"]
    selected = made.domains["math"]["mixed"].inputs["questions"]
    assert [stage.settings["keep"] for stage in selected] == [11]


def test_shards_follow_from_the_expected_rows() -> None:
    made = plan(("recipes.small.answers.answers_per_shard", 10))
    assert made.recipes["small"].domains["math"]["answers"].execution["shards"] == 4
    labels = {stage.id: stage for stage in made.recipes["small"].stages() if stage.kind == "labels"}
    assert sorted(stage.execution["shards"] for stage in labels.values()) == [1, 3]


def test_a_file_on_this_machine_is_pinned_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    own = {"connector": "local", "domain": "code", "path": str(path)}
    catalog = Catalog(
        {**CATALOG.sources, "puzzles": own}, CATALOG.benchmarks, CATALOG.models, CATALOG.scales, CATALOG.prompts
    )
    path.write_text("one")
    before = ids(plan(catalog=catalog))
    path.write_text("two")
    after = ids(plan(catalog=catalog))
    path.write_text("one")
    assert before != after
    assert before == ids(plan(catalog=catalog))


def test_every_path_that_is_not_there_is_told_at_once() -> None:
    gone = {name: {"connector": "local", "domain": "math", "path": f"{name}.csv"} for name in ("algebra", "puzzles")}
    with pytest.raises(ConfigurationError) as caught:
        plan(catalog=replace(CATALOG, sources={**CATALOG.sources, **gone}))
    assert len(caught.value.problems) == 2
    assert all("does not exist" in problem for problem in caught.value.problems)


EXPERIMENT = ("experiments.which", {"base": "small", "vary": {"filter.by": ["none", "majority"]}})
TARGET = ("targets", ["which", "small"])


def test_arms_share_every_stage_before_the_one_that_differs() -> None:
    made = plan(EXPERIMENT, TARGET)
    none, majority = (plans[0] for plans in made.experiments["which"].arms.values())
    assert none.dataset is made.recipes["small"].dataset
    assert none.student is made.recipes["small"].student
    differing = {(s.kind, s.id) for s in majority.stages()} - {(s.kind, s.id) for s in none.stages()}
    assert {kind for kind, _ in differing} == {"filtered"} | AFTER_ANSWERS


def test_draws_and_seeds_are_repetitions_of_an_arm() -> None:
    more = {**EXPERIMENT[1], "draws": 2, "seeds": [1, 2]}
    made = plan(("experiments.which", more), TARGET)
    arms = made.experiments["which"].arms
    assert {len(plans) for plans in arms.values()} == {4}
    drawn = {plan.domains["math"]["drawn"].id for plan in arms["none"]}
    assert len(drawn) == 2


def test_a_training_seed_can_be_varied_like_any_setting() -> None:
    made = plan(("experiments.which", {"base": "small", "vary": {"training.seed": [1, 2]}}), TARGET)
    one, two = (plans[0] for plans in made.experiments["which"].arms.values())
    assert one.student is not two.student
    assert one.dataset is two.dataset


def test_several_varied_settings_make_a_grid_and_named_arms_move_settings_together() -> None:
    grid = Experiment(base="small", vary={"answers.samples": [1, 4], "filter.by": ["none", "random"]})
    assert list(arm_overrides(grid)) == ["1-none", "1-random", "4-none", "4-random"]
    named = Experiment(base="small", arms={"wide": {"answers.samples": 1, "domains.math.draw": 16}})
    assert arm_overrides(named) == {"wide": {"answers.samples": 1, "domains.math.draw": 16}}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("recipes.small.answer", {}, "recipes.small: unknown key 'answer' (did you mean answers?)"),
        ("recipes.small.answers.samples", "four", "recipes.small.answers.samples: 'four' should be of type integer"),
        ("recipes.small.filter.by", "majorty", "'majorty' is not one of the choices (did you mean majority?)"),
        ("recipes.small.answers.teacher", "teachr", "the catalog has no model 'teachr' (did you mean teacher?)"),
        ("recipes.small.domains.math.sources", ["algebr"], "has no source 'algebr' (did you mean algebra?)"),
        ("recipes.small.evaluation.benchmarks", ["olympia"], "no benchmark 'olympia' (did you mean olympiad?)"),
        ("recipes.small.evaluation.benchmarks", ["programs"], "programs has no grader"),
        ("recipes.small.training.scale", "tin", "the catalog has no scale 'tin' (did you mean tiny?)"),
        ("recipes.small.training.student", "other", "the catalog's entry has no `template`"),
        ("recipes.small.training.overrides", {"lr": "1e-5"}, "overrides.lr: the training scale has no setting"),
        ("recipes.small.training.overrides", {"learning_rate": "1e-5"}, "overrides.learning_rate: learning_rate of"),
        ("recipes.small.training.gpus", 7, "a global batch of 64 does not divide over 7"),
        ("recipes.small.domains.math.select.keep", 1, "1 questions cannot be shared by 2 sources"),
        ("recipes.small.decontaminate", {"similarity": 80}, "the key 'benchmarks' is missing ([] drops nothing)"),
        ("recipes.small.domains.code.select", {"by": "dificulty"}, "'dificulty' is not one of the choices"),
        ("recipes.small.limit", {"tokenizer": "techer"}, "limit.tokenizer: there is no tokenizer 'techer' (did"),
        ("recipes.small.filter", {"by": "random"}, "filter.options: give keep or keep_per_question"),
        ("recipes.small.filter", {"by": "majority", "options": {"tie": "drop"}}, "unknown key 'tie' (did you mean t"),
        ("recipes.small.filter", {"by": "longest", "keep": 2, "options": {"unit": "words"}}, "options.unit: 'words'"),
        ("recipes.small.filter", {"by": "short_paragraphs"}, "options: give max_characters"),
        ("recipes.small.filter", {"by": "columns", "options": {"where": {"agrement": 1}}}, "no column 'agrement'"),
        ("experiments.x", {"base": "small", "vary": {"filter.by": ["none", "shortest"]}}, "options: give keep"),
        ("budget", {"usd": 0}, "budget.usd: 0 is less than or equal to the minimum"),
        ("experiments.x", {"base": "small", "vary": {"filter.options": [{"a": "x y"}, {"a": "x/y"}]}}, "be called"),
        ("experiments.x", {"base": "small", "vary": {"training.seed": [1]}, "seeds": [2]}, "training.seed is varied"),
        ("experiments.x", {"base": "small", "benchmarks": ["programs"]}, "programs has no grader"),
        ("recipes.small.domains.code.select", {"by": "difficulty"}, "the key 'model' is missing"),
        ("recipes.small.domains.math.top", 3, "3 of 2 sources"),
        ("recipes.small.answers.teacher", "hosted", "math.limit.tokenizer: hosted is hosted: name the tokenizer"),
        ("targets", ["smal"], "there is no recipe or experiment 'smal' (did you mean small?)"),
        ("max_failed", "1e-2", "write 1.0e-5"),
        ("experiments.x", {"base": "smal"}, "experiments.x.base: there is no recipe 'smal' (did you mean small?)"),
        ("experiments.x", {"base": "small", "vary": {"filter.bi": ["none"]}}, "unknown key 'bi' (did you mean by?)"),
        ("experiments.x", {"base": "small", "compare_to": "nine"}, "there is no arm 'nine'"),
        ("experiments.x", {"base": "small", "vary": {"answers.teacher": ["techer"]}}, "did you mean teacher?"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_path_and_a_suggestion(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan((path, value))
    assert message in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan(("recipes.small.answers.teacher", "x"), ("targets", ["y"]), ("recipes.small.training.scale", "z"))
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3, text
    for path in ("targets", "recipes.small.answers.teacher", "training.scale"):
        assert path in text


def test_a_problem_is_told_where_it_was_written() -> None:
    domain = ("recipes.small.domains.code.answers", {"teacher": "y"})
    with pytest.raises(ConfigurationError) as caught:
        plan(("recipes.small.answers.teacher", "x"), domain, ("recipes.small.limit", {"tokenizer": "z"}))
    paths = sorted(problem.partition(":")[0] for problem in caught.value.problems)
    assert paths == [
        "recipes.small.answers.teacher", "recipes.small.domains.code.answers.teacher", "recipes.small.limit.tokenizer",
    ]  # fmt: skip


def test_a_benchmark_that_is_evaluated_but_not_decontaminated_against_is_warned_about() -> None:
    made = plan(("recipes.small.decontaminate.benchmarks", ["trivia"]))
    assert any("olympiad is evaluated" in warning for warning in made.warnings)
    assert plan().warnings == ()


class TestLicences:
    def test_all_are_allowed_where_none_is_named(self) -> None:
        assert ids(plan()) == ids(plan(("licences", None)))

    def test_a_source_under_another_licence_is_a_problem(self) -> None:
        sources = {**CATALOG.sources, "puzzles": {**CATALOG.sources["puzzles"], "licence": "cc-by-nc-4.0"}}
        with pytest.raises(ConfigurationError) as error:
            plan(("licences", ["MIT", "apache-2.0"]), catalog=replace(CATALOG, sources=sources))
        domains = "recipes.small.domains"
        assert error.value.problems == [
            f"{domains}.code.sources.0: the licence of puzzles (cc-by-nc-4.0) is not among `licences`: "
            "allow it, or choose another source",
            f"{domains}.math.sources.1: the licence of geometry (unknown) is not among `licences`: "
            "state it in the catalog, or choose another source",
        ]

    def test_what_is_allowed_makes_nothing_anew(self) -> None:
        assert ids(plan(("licences", ["mit", "unknown"]))) == ids(plan())

    def test_a_source_that_is_not_mixed_needs_none(self) -> None:
        alone = ("recipes.small.domains", {"math": CONFIG["recipes"]["small"]["domains"]["math"]})
        plan(alone, ("licences", ["mit"]), ("recipes.small.domains.math.top", 1))

    def test_an_arm_that_brings_in_a_source_is_a_problem(self) -> None:
        alone = ("recipes.small.domains", {"math": CONFIG["recipes"]["small"]["domains"]["math"]})
        vary = {"base": "small", "vary": {"domains.math.top": [1, 2]}}
        with pytest.raises(
            ConfigurationError, match=r"experiments\.e\.vary\.domains\.math\.top: .*geometry \(unknown\)"
        ):
            plan(
                alone,
                ("recipes.small.domains.math.top", 1),
                ("licences", ["mit"]),
                ("experiments", {"e": vary}),
            )


MODELS = {"models": ["teacher", "hosted"], "evaluation": {"benchmarks": ["olympiad", "trivia"], "samples": 2}}


class TestExperiments:
    def test_models_are_measured_as_they_are(self) -> None:
        made = plan(("experiments.which", MODELS), ("targets", ["which"]))
        experiment = made.experiments["which"]
        assert list(experiment.evaluations) == ["teacher", "hosted"]
        assert {stage.kind for stage in experiment.stages()} == {"model", "benchmark", "evaluation", "experiment"}
        ((evaluation,), _) = experiment.evaluations.values()
        assert [task["samples"] for task in evaluation.settings["tasks"]] == [2, 2]
        assert experiment.stage.settings["compare_to"] == "teacher"

    def test_models_stand_beside_the_arms_of_a_recipe_under_the_same_evaluation(self) -> None:
        both = {**EXPERIMENT[1], "models": ["student"], "evaluation": {"samples": 5}, "compare_to": "student"}
        made = plan(("experiments.which", both), TARGET)
        evaluations = made.experiments["which"].evaluations
        assert list(evaluations) == ["none", "majority", "student"]
        assert len({str(stage.settings) for stages in evaluations.values() for stage in stages}) == 1
        (added,) = [stage for stage in made.experiments["which"].arm_stages("student") if stage.kind == "evaluation"]
        assert added.input("model").kind == "model"

    def test_an_arm_that_is_null_is_left_out(self) -> None:
        arms = {"one": {"answers.samples": 1}, "two": {"answers.samples": 2}, "three": None}
        made = plan(("experiments.which", {"base": "small", "arms": arms}), TARGET)
        assert list(made.experiments["which"].arms) == ["one", "two"]

    def test_a_curve_joins_the_arms_that_differ_in_x_alone(self) -> None:
        curve = {
            "base": "small",
            "vary": {"answers.samples": [1, 4], "filter.by": ["none", "majority"]},
            "plot": "curve",
            "x": "answers.samples",
        }
        made = plan(("experiments.which", curve), TARGET)
        points = made.experiments["which"].stage.settings["points"]
        assert points == {
            "1-none": (1, "none"),
            "1-majority": (1, "majority"),
            "4-none": (4, "none"),
            "4-majority": (4, "majority"),
        }
        rows = plan(("experiments.which", {**curve, "x": "rows", "vary": {"answers.samples": [1, 4]}}), TARGET)
        assert {arm: x for arm, (x, _) in rows.experiments["which"].stage.settings["points"].items()} == {
            "1": 18,
            "4": 72,
        }

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"models": ["techer"]}, "models.0: the catalog has no model 'techer' (did you mean teacher?)"),
            ({"models": ["none"], "vary": {"filter.by": ["none"]}}, "'none' is the name of another arm too"),
            ({"plot": "curve"}, "experiments.x.x: it belongs to `plot: curve`"),
            ({"plot": "curve", "x": "filter.by", "vary": {"filter.by": ["none"]}}, "sets no number at filter.by"),
            ({"published": "figure-9"}, "the catalog has no figures 'figure-9'"),
            ({"base": None}, "experiments.x.base: null should be of type string"),
            ({"evaluation": {"sample": 3}}, "unknown key 'sample' (did you mean samples?)"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_told(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            plan(("experiments.x", {"base": "small", **change}))
        assert message in str(caught.value)

    def test_benchmarks_are_averaged_by_group_and_domain(self) -> None:
        names = {
            "a": ("math", "validation"),
            "b": ("code", "validation"),
            "c": ("math", "held-out"),
            "d": ("math", "safety"),
        }
        benchmarks = {
            name: {"domain": domain, "group": group, "averaged": group != "safety"}
            for name, (domain, group) in names.items()
        }
        catalog = replace(CATALOG, benchmarks=benchmarks)
        assert benchmark_groups(["d", "c", "b", "a"], catalog) == {
            "averaged": ["a", "b", "c"],
            "groups": {"code": ["b"], "held-out": ["c"], "math": ["a", "c"], "safety": ["d"], "validation": ["a", "b"]},
        }
        assert benchmark_groups(["a", "c"], catalog)["groups"] == {"held-out": ["c"], "validation": ["a"]}


JUDGED = {
    **CATALOG.benchmarks,
    "harm": {
        "connector": "hub", "domain": "safety", "rows": 100, "grader": "judge", "samples": 2,
        "judge": {"model": "hosted", "prompt": "rubric"},
    },
}  # fmt: skip


class TestJudges:
    def test_a_judge_is_a_stage_that_asks_after_the_evaluation(self) -> None:
        catalog = replace(CATALOG, benchmarks=JUDGED)
        recipe = plan(("recipes.small.evaluation.benchmarks", ["olympiad", "harm"]), catalog=catalog).recipes["small"]
        judged = [stage for stage in recipe.stages() if stage.kind == "judged"]
        assert {stage.input("evaluation") for stage in judged} == set(recipe.evaluations.values())
        assert {stage.input("model").settings["name"] for stage in judged} == {"hosted"}

    def test_verdicts_can_be_written_from_the_store(self) -> None:
        catalog = replace(CATALOG, benchmarks=JUDGED)
        made = plan(("recipes.small.evaluation.benchmarks", ["harm"]), catalog=catalog)
        shards = [shard for shard in asked_shards(made) if shard.program == "judge_answers"]
        assert len(shards) == 2
        for shard in shards:
            assert shard.arguments[:2] == ("--benchmark", "harm")
            assert shard.output.startswith("results/judged/harm-")
            assert any(path.startswith("results/evaluations/") for path in shard.inputs)

    def test_another_rubric_is_another_evaluation(self) -> None:
        changed = {"rubric": Prompt("catalog/prompts/rubric.md", "ffff")}
        found = [
            plan(("recipes.small.evaluation.benchmarks", ["harm"]), catalog=catalog).recipes["small"].evaluations
            for catalog in (
                replace(CATALOG, benchmarks=JUDGED),
                replace(CATALOG, benchmarks=JUDGED, prompts=changed),
            )
        ]
        assert found[0]["student"].id != found[1]["student"].id

    def test_a_benchmark_needs_to_say_who_judges(self) -> None:
        unjudged = {key: value for key, value in JUDGED["harm"].items() if key != "judge"}
        benchmarks = {**JUDGED, "harm": unjudged}
        with pytest.raises(ConfigurationError, match="harm is graded by a judge: say which"):
            plan(("recipes.small.evaluation.benchmarks", ["harm"]), catalog=replace(CATALOG, benchmarks=benchmarks))


class TestPreparing:
    def test_a_size_is_laid_over_and_included_files_under_the_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "base.yaml").write_text("store: below\nresults: below\nsizes: {small: {store: small}}\n")
        config = {"include": str(tmp_path / "base.yaml"), "results": "own", "sizes": {"small": {"max_failed": 0.5}}}
        assert prepared(config)["store"] == "below"
        assert prepared(config)["results"] == "own"
        small = prepared({**config, "size": "small"})
        assert (small["store"], small["max_failed"]) == ("small", 0.5)
        assert prepared(small) == small

    def test_mistakes_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"there is no size 'smal' \(did you mean small\?\)"):
            prepared({"size": "smal", "sizes": {"small": {}}})
        with pytest.raises(UserError, match=r"nowhere\.yaml does not exist"):
            prepared({"include": ["nowhere.yaml"]})
        own = tmp_path / "own.yaml"
        own.write_text(f"include: {own}\n")
        with pytest.raises(UserError, match="includes itself"):
            prepared({"include": str(own)})
