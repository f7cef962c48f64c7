"""The plan: stages with their settings and inputs, and the recipes and experiments that they make up."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openthoughts.plan.config import Settings
from openthoughts.plan.register import KINDS


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of the plan; stages that agree are one object.

    ``inputs`` maps a role to the stages of that role, in order; ``settings`` is what changes the output, ``execution``
    what does not.
    """

    kind: str
    id: str
    settings: Settings
    inputs: Mapping[str, tuple[Stage, ...]]
    execution: Settings = field(default_factory=dict)

    @property
    def name(self) -> str:
        """KIND/ID, which no other stage of a plan has."""
        return f"{self.kind}/{self.id}"

    @property
    def folder(self) -> str:
        """The stage's folder, relative to the results."""
        return f"{KINDS[self.kind].folder}/{self.id}"

    def input(self, role: str) -> Stage:
        """The one stage of a role."""
        (only,) = self.inputs[role]
        return only

    def upstream(self) -> Iterator[Stage]:
        """Every stage this one is made of, each once, inputs before what is made of them; last the stage itself."""
        seen: set[tuple[str, str]] = set()

        def walk(stage: Stage) -> Iterator[Stage]:
            if (stage.kind, stage.id) in seen:
                return
            seen.add((stage.kind, stage.id))
            for stages in stage.inputs.values():
                for other in stages:
                    yield from walk(other)
            yield stage

        yield from walk(self)

    def to_json(self) -> dict[str, Any]:
        """The stage as JSON values; its inputs are names of other stages, by role."""
        return {
            "kind": self.kind,
            "id": self.id,
            "settings": self.settings,
            "inputs": {role: [stage.name for stage in stages] for role, stages in self.inputs.items()},
            "execution": self.execution,
        }

    @staticmethod
    def from_json(record: Mapping[str, Any], known: Mapping[str, Stage]) -> Stage:
        """The stage that ``to_json`` wrote; ``known``: stages by name, among them its inputs."""
        inputs = {role: tuple(known[name] for name in names) for role, names in record["inputs"].items()}
        return Stage(record["kind"], record["id"], record["settings"], inputs, record["execution"])


Stages = Mapping[str, Stage]
"""Stages by some name."""


def _names(stages: Stages) -> dict[str, str]:
    return {key: stage.name for key, stage in stages.items()}


@dataclass(frozen=True)
class RecipePlan:
    """The stages of one recipe, by domain and for the whole."""

    name: str
    domains: Mapping[str, Mapping[str, Stage]]
    dataset: Stage
    student: Stage | None
    evaluations: Mapping[str, Stage]
    judged: tuple[Stage, ...] = ()

    def goals(self) -> list[Stage]:
        """The stages at the end of the recipe."""
        students = [self.student] if self.student else []
        return [self.dataset, *students, *self.evaluations.values(), *self.judged]

    def named(self) -> dict[str, Stage]:
        """The stages at its end by the names they have in the recipe's folder."""
        found = {"dataset": self.dataset}
        if self.student:
            found["model"] = self.student
        for name, stage in self.evaluations.items():
            found["scores" if name == "student" else f"scores-{name}"] = stage
        return found

    def stages(self) -> list[Stage]:
        """Every stage of the recipe, each once, inputs first."""
        unique: dict[tuple[str, str], Stage] = {}
        for goal in self.goals():
            for stage in goal.upstream():
                unique.setdefault((stage.kind, stage.id), stage)
        return list(unique.values())

    def questions(self) -> list[Stage]:
        """The stages of its own questions, from the sources to those drawn, each once, inputs first.

        The examples that a classifier or a direction is learnt from are not among them.
        """
        found: dict[Stage, None] = {}

        def walk(stage: Stage) -> None:
            for other in stage.inputs.get("questions", ()):
                walk(other)
            found.setdefault(stage)

        for stages in self.domains.values():
            walk(stages["drawn"])
        return list(found)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values, each stage by its name."""
        return {
            "name": self.name,
            "domains": {domain: _names(stages) for domain, stages in self.domains.items()},
            "dataset": self.dataset.name,
            "student": self.student and self.student.name,
            "evaluations": _names(self.evaluations),
            "judged": [stage.name for stage in self.judged],
        }

    @staticmethod
    def from_json(record: Mapping[str, Any], known: Stages) -> RecipePlan:
        """The recipe that ``to_json`` wrote; ``known``: stages by name."""
        return RecipePlan(
            record["name"],
            {
                domain: {key: known[name] for key, name in stages.items()}
                for domain, stages in record["domains"].items()
            },
            known[record["dataset"]],
            known[record["student"]] if record["student"] else None,
            {key: known[name] for key, name in record["evaluations"].items()},
            tuple(known[name] for name in record["judged"]),
        )


@dataclass(frozen=True)
class ExperimentPlan:
    """The arms of one experiment and the stage that compares them.

    ``arms`` are those that are recipes; ``evaluations`` are of all arms, models measured as they are among them.
    """

    name: str
    arms: Mapping[str, tuple[RecipePlan, ...]]
    evaluations: Mapping[str, tuple[Stage, ...]]
    judged: Mapping[str, tuple[Stage, ...]]
    stage: Stage
    about: str = ""

    def arm_stages(self, arm: str) -> list[Stage]:
        """Every stage that an arm's scores are made of, each once, inputs first."""
        ends = (*self.evaluations[arm], *self.judged[arm])
        return list(dict.fromkeys(stage for end in ends for stage in end.upstream()))

    def stages(self) -> list[Stage]:
        """Every stage of the experiment, each once, inputs first."""
        arms = (stage for arm in self.evaluations for stage in self.arm_stages(arm))
        return list(dict.fromkeys((*arms, self.stage)))

    def to_json(self) -> dict[str, Any]:
        """The experiment as JSON values, each stage by its name."""
        return {
            "name": self.name,
            "arms": {arm: [recipe.to_json() for recipe in recipes] for arm, recipes in self.arms.items()},
            "evaluations": {arm: [stage.name for stage in stages] for arm, stages in self.evaluations.items()},
            "judged": {arm: [stage.name for stage in stages] for arm, stages in self.judged.items()},
            "stage": self.stage.name,
            "about": self.about,
        }

    @staticmethod
    def from_json(record: Mapping[str, Any], known: Stages) -> ExperimentPlan:
        """The experiment that ``to_json`` wrote; ``known``: stages by name."""
        arms = {
            arm: tuple(RecipePlan.from_json(each, known) for each in recipes) for arm, recipes in record["arms"].items()
        }
        evaluations = {arm: tuple(map(known.__getitem__, names)) for arm, names in record["evaluations"].items()}
        judged = {arm: tuple(map(known.__getitem__, names)) for arm, names in record["judged"].items()}
        return ExperimentPlan(record["name"], arms, evaluations, judged, known[record["stage"]], record["about"])


@dataclass(frozen=True)
class Plan:
    """Everything that the configuration defines; ``targets`` are what it asks for."""

    results: str
    recipes: Mapping[str, RecipePlan]
    experiments: Mapping[str, ExperimentPlan]
    targets: tuple[str, ...]
    warnings: tuple[str, ...]
    index: Mapping[tuple[str, str], Stage]

    def stage(self, kind: str, id: str) -> Stage:
        """The stage of a kind and id; ``KeyError`` where no configured recipe has it."""
        return self.index[kind, id]

    def path(self, stage: Stage, file: str | None = None) -> str:
        """Path of a file of a stage; of its main file where none is named."""
        return f"{self.results}/{stage.folder}/{file or KINDS[stage.kind].file}"

    def judgements(self, evaluation: Stage) -> tuple[Stage, ...]:
        """What judges say of the answers of an evaluation: a stage per benchmark that has a judge."""
        return self._judgements.get(evaluation, ())

    @functools.cached_property
    def _judgements(self) -> Mapping[Stage, tuple[Stage, ...]]:
        found: dict[Stage, tuple[Stage, ...]] = {}
        for stage in self.index.values():
            for evaluation in stage.inputs.get("evaluation", ()):
                found[evaluation] = (*found.get(evaluation, ()), stage)
        return found

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, from which ``from_json`` makes it again: every stage once, inputs first."""
        return {
            "results": self.results,
            "stages": [stage.to_json() for stage in self.index.values()],
            "recipes": {name: recipe.to_json() for name, recipe in self.recipes.items()},
            "experiments": {name: experiment.to_json() for name, experiment in self.experiments.items()},
            "targets": list(self.targets),
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote."""
        known: dict[str, Stage] = {}
        for each in record["stages"]:
            stage = Stage.from_json(each, known)
            known[stage.name] = stage
        return Plan(
            record["results"],
            {name: RecipePlan.from_json(each, known) for name, each in record["recipes"].items()},
            {name: ExperimentPlan.from_json(each, known) for name, each in record["experiments"].items()},
            tuple(record["targets"]),
            tuple(record["warnings"]),
            {(stage.kind, stage.id): stage for stage in known.values()},
        )
