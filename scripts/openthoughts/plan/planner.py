"""From the configuration to the plan: every stage of every recipe, with its settings, its inputs and its id.

``make_plan`` is a pure function of the configuration and the catalog. The Snakefile only looks things up in its result,
so the graph, the costs and the experiment matrix cannot disagree. It is run again by every cluster job: it imports
nothing heavy and touches no network.

The id of a stage is a label of what it is about (never a recipe's name: recipes that agree share the stage) and 12 hex
digits of the hash of its kind, the kind's version, its settings that affect the output, and the ids of its inputs. How
a stage is run (shards, GPUs, concurrency) is ``execution`` and never part of an id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from openthoughts.answers.filters import FILTERS
from openthoughts.base.hashing import digest
from openthoughts.grading.graders import GRADERS
from openthoughts.inference.sampling import JudgeSampling, WritingSampling
from openthoughts.plan.arms import arm_evaluation, arm_recipes, curve_points
from openthoughts.plan.catalog import Catalog, ContentOf, content_of, local_pins
from openthoughts.plan.config import Settings
from openthoughts.plan.expectations import expected_rows
from openthoughts.plan.register import EXAMPLES, KINDS
from openthoughts.plan.settings.answers import Answers, Filter
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.settings.experiment import Experiment
from openthoughts.plan.settings.questions import MODEL_LABELS, Decontaminate, Example, Examples, Select
from openthoughts.plan.settings.recipe import Domain, Recipe
from openthoughts.plan.settings.student import Evaluation, Training, resolved_scale
from openthoughts.plan.stages import ExperimentPlan, Plan, RecipePlan, Stage
from openthoughts.plan.validation import recipe_warnings, validated
from openthoughts.sources.connectors import DESCRIPTIVE
from openthoughts.sources.entries import fetched_entry, written_prompt, written_steps

NOT_FETCHED = DESCRIPTIVE | {"price", "serving", "endpoint", "parameters", "template", "tokenizer"}
"""Keys of catalog entries that never change what is fetched, so they are not part of an id."""


class Planner:
    """Builds the stages of recipes; stages that agree are one object."""

    def __init__(self, catalog: Catalog, content: ContentOf = content_of, shard_hours: float | None = None) -> None:
        self.catalog = catalog
        self.content = content
        self.shard_hours = shard_hours
        self.index: dict[tuple[str, str], Stage] = {}
        self._fetched: dict[tuple[str, str], Stage] = {}
        self._judged: dict[Stage, tuple[Stage, ...]] = {}

    def add(
        self,
        kind: str,
        label: str,
        settings: Settings,
        inputs: Mapping[str, Iterable[Stage]] | None = None,
        execution: Settings | None = None,
    ) -> Stage:
        """The stage of these settings and inputs (an existing one where there is one)."""
        roles = {role: tuple(stages) for role, stages in (inputs or {}).items()}
        made_of = {role: [f"{stage.kind}/{stage.id}" for stage in stages] for role, stages in roles.items()}
        key = digest([kind, KINDS[kind].version, settings, made_of], 12)
        identifier = f"{label}-{key}"
        stage = self.index.get((kind, identifier))
        if stage is None:
            stage = Stage(kind, identifier, settings, roles, execution or {})
            self.index[kind, identifier] = stage
        return stage

    def fetched(self, kind: str, name: str) -> Stage:
        """A source, benchmark or model of the catalog, at the revision of the lock."""
        known = self._fetched.get((kind, name))
        if known is None:
            entries: Mapping[str, Mapping[str, Any]] = getattr(self.catalog, f"{kind}s")
            entry = {key: value for key, value in fetched_entry(entries[name]).items() if key not in NOT_FETCHED}
            settings: dict[str, Any] = {"name": name, "entry": entry}
            pin = self.catalog.lock.get(f"{kind}s", {}).get(name)
            if pin is not None:
                settings["pin"] = pin
            elif local := local_pins(entry, self.content):
                settings["pin"] = local
            known = self.add(kind, name, settings, execution=entries[name])
            self._fetched[kind, name] = known
        return known

    def model(self, name: str) -> Stage:
        """A model of the catalog."""
        return self.fetched("model", name)

    def prompt(self, name: str | None) -> tuple[str | None, str | None]:
        """Digest and path of a prompt."""
        if name is None:
            return None, None
        prompt = self.catalog.prompts[name]
        return prompt.digest, prompt.path

    def source(self, name: str) -> Stage:
        """The questions of a source: fetched, or written by a model from what is fetched."""
        entry = self.catalog.sources[name]
        stages = [self.fetched("source", name)]
        for steps in written_steps(entry):
            stages = [self.written(name, step, entry, stages) for step in steps]
        return stages[0]

    def written(self, name: str, step: str, entry: Settings, questions: list[Stage]) -> Stage:
        """One step on the way from documents to questions."""
        prompt, path = self.prompt(written_prompt(entry, step))
        settings = {
            "name": name,
            "domain": entry["domain"],
            "step": step,
            "prompt": prompt,
            "sampling": WritingSampling.model_validate(entry.get("sampling", {})).identity(),
            "seed": entry.get("seed", 42),
        }
        rows = sum(expected_rows(stage) or 0 for stage in questions)
        shards = max(1, math.ceil(rows / entry.get("questions_per_shard", 50_000)))
        inputs = {"questions": questions, "model": [self.model(entry["model"])]}
        return self.add("written", name, settings, inputs, {**entry, "prompt": path, "shards": shards})

    def clean(self, source: str, settings: Decontaminate) -> Stage:
        """A source without the questions of the benchmarks."""
        benchmarks = [self.fetched("benchmark", name) for name in sorted(settings.benchmarks or ())]
        rule = {key: value for key, value in settings.identity().items() if key != "benchmarks"}
        questions = self.source(source)
        return self.add(
            "clean", source, rule, {"questions": [questions], "benchmarks": benchmarks}, questions.execution
        )

    def labels(self, source: str, clean: Stage, select: Select) -> Stage:
        """One label a question of a source."""
        method = select.by
        rows = clean.execution.get("rows") or 1
        shards = max(1, math.ceil(rows / select.questions_per_shard))
        if method not in MODEL_LABELS:
            learnt = {"classifier": [self.classifier(select)]} if method == "fasttext" else {}
            inputs = {"questions": [clean], **learnt}
            return self.add("labels", source, {"method": method}, inputs, {"shards": shards})
        inputs = {"questions": [clean], "model": [self.model(needed(select.model))]}
        if method == "embeddings":
            inputs["direction"] = [self.direction(select)]
            return self.add("labels", source, {"method": method}, inputs, {"shards": shards})
        prompt, path = self.prompt(select.prompt)
        settings = {
            "method": method,
            "prompt": prompt,
            "sampling": select.sampling.identity(),
            "seed": select.seed,
            "attempts": select.attempts,
        }
        if method == "response_length":
            settings["unit"] = select.unit
        return self.add("labels", source, settings, inputs, {"prompt": path, "shards": shards})

    def classifier(self, block: Select | Filter) -> Stage:
        """A fastText classifier of a ``select`` or ``filter``, shared by all that have the same examples."""
        examples = needed(block.examples)
        settings = {"parameters": block.fasttext.identity(), **examples.drawing()}
        return self.add("classifier", "fasttext", settings, self.examples(examples))

    def direction(self, select: Select) -> Stage:
        """The direction from the mean embedding of the negative examples to that of the positive ones."""
        examples, model = needed(select.examples), needed(select.model)
        inputs = {**self.examples(examples), "model": [self.model(model)]}
        return self.add("direction", model, examples.drawing(), inputs)

    def examples(self, block: Examples) -> dict[str, list[Stage]]:
        """The texts that are good and bad examples: questions of sources, or a model's answers to them."""
        return {role: [self.example(each, block) for each in getattr(block, role)] for role in EXAMPLES}

    def example(self, example: str | Example, block: Examples) -> Stage:
        """One source of examples."""
        if isinstance(example, str):
            return self.source(example)
        name = example.source
        few = {"by": "random", "keep": block.most, "seed": block.seed}
        selected = self.add("selected", name, few, {"questions": [self.source(name)]})
        drawn = self.add("drawn", name, {"count": None, "seed": block.seed}, {"questions": [selected]})
        return self.answers(name, drawn, Answers(teacher=example.model, samples=1, sampling=example.sampling))

    def selected(self, source: str, clean: Stage, select: Select, keep: float | None) -> Stage:
        """The best questions of a source."""
        inputs = {"questions": [clean]}
        settings: dict[str, Any] = {"by": select.by, "keep": keep}
        if select.by == "random":
            settings["seed"] = select.seed
        else:
            inputs["labels"] = [self.labels(source, clean, select)]
            settings |= {"at_least": select.at_least, "unlabelled": select.unlabelled}
        return self.add("selected", source, settings, inputs)

    def domain(self, name: str, block: Domain) -> dict[str, Stage]:
        """The stages of one domain, from its sources to its filtered answers."""
        sources = block.mixed_sources()
        shares = [_share(block.select.keep, len(sources), place) for place in range(len(sources))]
        selected = [
            self.selected(source, self.clean(source, block.decontaminate), block.select, share)
            for source, share in zip(sources, shares, strict=True)
        ]
        mixed = self.add("mixed", name, {"seed": block.mix_seed}, {"questions": selected})
        limited = self.limited(name, mixed, block)
        duplicates = block.deduplicate
        rule = duplicates.identity() if duplicates.level == "fuzzy" else {"level": duplicates.level}
        deduplicated = self.add("deduplicated", name, rule, {"questions": [limited]})
        draw: dict[str, Any] = {"count": block.drawn_count(), "seed": block.draw_seed}
        if block.fill and draw["count"] is not None:
            draw["fill"] = True
        drawn = self.add("drawn", name, draw, {"questions": [deduplicated]})
        answers = self.answers(name, drawn, block.answers)
        measured = self.add("measured", name, block.measure.identity(), {"questions": [drawn], "answers": [answers]})
        filtered = self.filtered(name, drawn, answers, measured, block.filter)
        return {
            "mixed": mixed,
            "limited": limited,
            "deduplicated": deduplicated,
            "drawn": drawn,
            "answers": answers,
            "measured": measured,
            "filtered": filtered,
        }

    def filtered(self, name: str, drawn: Stage, answers: Stage, measured: Stage, block: Filter) -> Stage:
        """The answers that a filter chooses."""
        by = block.by
        inputs = {"questions": [drawn], "answers": [answers]}
        if FILTERS[by].needs == "measured":
            inputs["measured"] = [measured]
        if FILTERS[by].needs == "assessed":
            inputs["assessed"] = [self.assessed(name, drawn, answers, block)]
        return self.add("filtered", name, {"by": by, "options": block.chosen_options()}, inputs)

    def assessed(self, name: str, drawn: Stage, answers: Stage, block: Filter) -> Stage:
        """An assessment of every answer: a classifier's score, or a model's verdict."""
        shards = max(1, math.ceil(answers.execution["expected"] / block.answers_per_shard))
        inputs = {"questions": [drawn], "answers": [answers]}
        if FILTERS[block.by].assessed_by == "classifier":
            inputs["classifier"] = [self.classifier(block)]
            return self.add("assessed", name, {"method": block.by}, inputs, {"shards": shards})
        inputs["model"] = [self.model(needed(block.model))]
        prompt, path = self.prompt(block.prompt)
        sampling = block.sampling.identity()
        settings = {"method": block.by, "prompt": prompt, "sampling": sampling, "seed": block.seed}
        return self.add("assessed", name, settings, inputs, {"prompt": path, "shards": shards})

    def limited(self, name: str, mixed: Stage, block: Domain) -> Stage:
        """Questions of bounded length."""
        tokenizer: str | None = block.limit.tokenizer
        inputs = {"questions": [mixed]}
        if tokenizer == "teacher":
            teacher = needed(block.answers.teacher)
            tokenizer = self.catalog.models[teacher].get("tokenizer")
            if tokenizer is None:
                inputs["model"] = [self.model(teacher)]
        settings = {"max_tokens": block.limit.max_tokens, "tokenizer": tokenizer}
        return self.add("limited", name, settings, inputs)

    def answers(self, name: str, drawn: Stage, wanted: Answers) -> Stage:
        """The teacher's answers to the drawn questions of a domain."""
        prompt, path = self.prompt(wanted.prompt)
        settings = {
            "prompt": prompt,
            "sampling": wanted.sampling.identity(),
            "samples": wanted.samples,
            "seed": wanted.seed,
        }
        expected = (expected_rows(drawn) or 1) * wanted.samples
        shards = wanted.shards or math.ceil(expected / self.answers_per_shard(wanted))
        inputs = {"questions": [drawn], "model": [self.model(needed(wanted.teacher))]}
        execution = {"prompt": path, "shards": shards, "expected": expected}
        return self.add("answers", name, settings, inputs, execution)

    def answers_per_shard(self, wanted: Answers) -> int:
        """Answers of one shard: as many as the teacher gives in ``shard_hours``, at the most those of the recipe."""
        speed = self.catalog.models[needed(wanted.teacher)].get("serving", {})
        most = wanted.answers_per_shard
        if self.shard_hours is None or not {"tokens_per_second", "tokens_per_answer"} <= set(speed):
            return most
        answers_per_hour: float = 3600 * speed["tokens_per_second"] / speed["tokens_per_answer"]
        return max(1, min(most, math.floor(self.shard_hours * answers_per_hour)))

    def recipe(self, name: str, recipe: Recipe) -> RecipePlan:
        """All stages of a resolved recipe."""
        domains = {domain: self.domain(domain, block) for domain, block in recipe.domains.items()}
        inputs: dict[str, list[Stage]] = {"drawn": [], "answers": [], "measured": []}
        for stages in domains.values():
            inputs["drawn"].append(stages["drawn"])
            inputs["answers"].append(stages["filtered"])
            inputs["measured"].append(stages["measured"])
        difficulty = sorted(name for name, block in recipe.domains.items() if block.select.by == "difficulty")
        settings = {
            "domains": list(domains),
            "difficulty": difficulty,
            "seed": recipe.shuffle_seed,
        }
        dataset = self.add("dataset", "-".join(domains), settings, inputs)
        student = self.student(dataset, recipe.training) if recipe.training else None
        evaluations: dict[str, Stage] = {}
        if student and recipe.training and recipe.evaluation:
            wanted, base = recipe.evaluation, recipe.training.student
            evaluations["student"] = self.evaluation(f"{base}-student", student, wanted)
            if wanted.base:
                evaluations["base"] = self.evaluation(base, self.model(base), wanted)
        judged = tuple(stage for evaluation in evaluations.values() for stage in self.judged(evaluation))
        return RecipePlan(name, domains, dataset, student, evaluations, judged)

    def student(self, dataset: Stage, training: Training) -> Stage:
        """The base model trained on the dataset."""
        scale = resolved_scale(training, self.catalog.scales)
        entry = self.catalog.models[training.student]
        base = self.model(training.student)
        packing = {"packing": scale.packing, "neat_packing": scale.neat_packing}
        preparation = {"template": entry["template"], "cutoff": scale.cutoff, "settings": packing}
        inputs = {"dataset": [dataset], "model": [base]}
        tokenized = self.add("tokenized", training.student, preparation, inputs)
        execution = {"save_steps": scale.save_steps, "nodes": training.nodes, "gpus": training.gpus}
        return self.add(
            "student",
            training.student,
            {"settings": scale.output_settings(), "seed": training.seed, "max_model_len": entry["max_model_len"]},
            {"tokenized": [tokenized], "model": [base]},
            execution,
        )

    def evaluation(self, label: str, model: Stage, wanted: Evaluation) -> Stage:
        """A model's answers to benchmarks, and their grades."""
        tasks, prompts = [], []
        for name in sorted(wanted.benchmarks):
            entry = self.catalog.benchmarks[name]
            prompt, path = self.prompt(entry.get("prompt"))
            samples = wanted.samples or entry.get("samples", 1)
            task = {"benchmark": name, "grader": entry["grader"], "prompt": prompt, "samples": samples}
            if GRADERS[entry["grader"]].asks_judge:
                task["judge"] = self.judge(entry["judge"])
            tasks.append(task)
            prompts.append(path)
        settings = {"tasks": tasks, "sampling": wanted.sampling.identity(), "seed": wanted.seed}
        benchmarks = [self.fetched("benchmark", task["benchmark"]) for task in tasks]
        inputs = {"model": [model], "benchmarks": benchmarks}
        return self.add("evaluation", label, settings, inputs, {"prompts": prompts})

    def judge(self, judge: Settings) -> dict[str, Any]:
        """What of a judge changes its verdicts."""
        return {
            "model": self.model(judge["model"]).id,
            "prompt": self.prompt(judge["prompt"])[0],
            "sampling": JudgeSampling.model_validate(judge.get("sampling", {})).identity(),
        }

    def judged(self, evaluation: Stage) -> tuple[Stage, ...]:
        """What judges say of the answers of an evaluation: a stage for each judge that its benchmarks have."""
        if evaluation not in self._judged:
            stages = []
            tasks = [task for task in evaluation.settings["tasks"] if "judge" in task]
            questions = dict(
                zip(
                    (task["benchmark"] for task in evaluation.settings["tasks"]),
                    evaluation.inputs["benchmarks"],
                    strict=True,
                )
            )
            for name in dict.fromkeys(task["benchmark"] for task in tasks):
                judge = self.catalog.benchmarks[name]["judge"]
                task = next(task for task in tasks if task["benchmark"] == name)
                settings = {**task["judge"], "benchmark": name, "seed": evaluation.settings["seed"]}
                inputs = {
                    "evaluation": [evaluation],
                    "questions": [questions[name]],
                    "model": [self.model(judge["model"])],
                }
                execution = {"prompt": self.prompt(judge["prompt"])[1], "samples": task["samples"]}
                stages.append(self.add("judged", name, settings, inputs, execution))
            self._judged[evaluation] = tuple(stages)
        return self._judged[evaluation]

    def experiment(self, name: str, experiment: Experiment, recipes: Mapping[str, Recipe]) -> ExperimentPlan:
        """The arms of an experiment and their comparison."""
        arms: dict[str, tuple[RecipePlan, ...]] = {}
        for arm, variants in arm_recipes(experiment, recipes).items():
            arms[arm] = tuple(self.recipe(f"{name}.{arm}", variant) for variant in variants)
        evaluations = {arm: tuple(plan.evaluations["student"] for plan in plans) for arm, plans in arms.items()}
        base = recipes[experiment.base].written() if experiment.base else {}
        wanted = Evaluation.model_validate(arm_evaluation(experiment, base))
        for model in experiment.models:
            evaluations[model] = (self.evaluation(model, self.model(model), wanted),)
        settings = {
            "experiment": name,
            "arms": [arm for arm, stages in evaluations.items() for _ in stages],
            "compare_to": experiment.compare_to or next(iter(evaluations)),
            "plot": experiment.plot,
            **benchmark_groups(wanted.benchmarks, self.catalog),
        }
        if experiment.plot == "curve":
            settings["x"] = experiment.x
            settings["points"] = _points(experiment, arms)
        if experiment.published is not None:
            settings["published"] = self.catalog.published[experiment.published]
        inputs = {"evaluations": [stage for stages in evaluations.values() for stage in stages]}
        judged = {
            arm: tuple(one for each in stages for one in self.judged(each)) for arm, stages in evaluations.items()
        }
        stage = self.add("experiment", name, settings, inputs)
        return ExperimentPlan(name, arms, evaluations, judged, stage, experiment.about)


def benchmark_groups(names: Iterable[str], catalog: Catalog) -> dict[str, Any]:
    """``averaged``: the benchmarks of the average; ``groups``: averages of some, by group and by domain of the catalog.

    A group that is everything, or has a benchmark's name, is left out. Benchmarks of what is not reasoning
    (``averaged: false``) are in no average but their own group's.
    """
    listed = sorted(names)
    averaged = [name for name in listed if catalog.benchmarks[name].get("averaged", True)] or listed
    groups: dict[str, list[str]] = {}
    for name in listed:
        entry = catalog.benchmarks[name]
        labels = [entry["group"]] if "group" in entry else []
        labels += [entry["domain"]] if name in averaged else []
        for label in labels:
            groups.setdefault(label, []).append(name)
    kept = {label: of for label, of in groups.items() if of != averaged and label not in {*listed, "average"}}
    return {"averaged": averaged, "groups": dict(sorted(kept.items()))}


def _points(experiment: Experiment, arms: Mapping[str, tuple[RecipePlan, ...]]) -> dict[str, tuple[Any, str]]:
    """Arm -> where it lies on the axis of the curves, and its curve."""
    points = curve_points(experiment, needed(experiment.x))
    if experiment.x != "rows":
        return points
    return {arm: (expected_answers(arms[arm][0].dataset), curve) for arm, (_, curve) in points.items()}


def expected_answers(dataset: Stage) -> int | None:
    """Answers that a dataset is made from: questions drawn, times samples, or what is kept, over its domains."""
    known: list[int] = []
    for filtered in dataset.inputs["answers"]:
        answers = filtered.input("answers")
        questions = expected_rows(answers.input("questions"))
        if questions is None:
            return None
        made = questions * answers.settings["samples"]
        known.append(min(made, filtered.settings["options"].get("keep") or made))
    return sum(known)


def _share(keep: float | None, parts: int, place: int) -> float | None:
    """What source ``place`` of ``parts`` keeps: its part of a number (parts differ by at most one), or a fraction."""
    if keep is None or keep < 1:
        return keep
    total = int(keep)
    return total // parts + (place < total % parts)


Given = TypeVar("Given")


def needed(value: Given | None) -> Given:
    """A setting that validation has seen to be there."""
    assert value is not None
    return value


def make_plan(config: Configuration | Settings, catalog: Catalog, content: ContentOf = content_of) -> Plan:
    """The plan of a configuration, as it is written or as ``configured`` has validated it.

    ``ConfigurationError`` lists every problem found.
    """
    whole = config if isinstance(config, Configuration) else validated(config, catalog)
    planner = Planner(catalog, content, whole.shard_hours)
    wanted = set(whole.targets)
    recipes = {name: recipe.resolved() for name, recipe in whole.recipes.items()}
    recipe_plans = {name: planner.recipe(name, recipe) for name, recipe in recipes.items() if name in wanted}
    experiment_plans = {
        name: planner.experiment(name, experiment, whole.recipes)
        for name, experiment in whole.experiments.items()
        if name in wanted
    }
    bases = [base for name in experiment_plans if (base := whole.experiments[name].base)]
    warned = dict.fromkeys(
        warning for name in [*recipe_plans, *bases] for warning in recipe_warnings(name, recipes[name], catalog)
    )
    return Plan(whole.results, recipe_plans, experiment_plans, whole.targets, tuple(warned), planner.index)
