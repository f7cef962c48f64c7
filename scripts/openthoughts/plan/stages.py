"""What a stage is: every kind in the order the data flows, and the plan as stages with their settings and inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from openthoughts.plan.recipes import Settings


@dataclass(frozen=True)
class Kind:
    """A kind of stage: its folder and main file, and a version raised when its output changes for equal settings."""

    folder: str
    file: str = "questions.parquet"
    version: int = 1


KINDS: Mapping[str, Kind] = {
    "source": Kind("sources"),
    "benchmark": Kind("benchmarks"),
    "model": Kind("models", "model.json"),
    "written": Kind("written"),
    "clean": Kind("clean"),
    "classifier": Kind("classifiers", "classifier.bin"),
    "direction": Kind("directions", "direction.json"),
    "labels": Kind("labels", "labels.parquet"),
    "selected": Kind("selected"),
    "mixed": Kind("mixed"),
    "limited": Kind("limited"),
    "deduplicated": Kind("deduplicated"),
    "drawn": Kind("drawn"),
    "answers": Kind("answers", "completions.parquet"),
    "measured": Kind("measured", "measures.parquet", version=2),
    "assessed": Kind("assessed", "assessments.parquet"),
    "filtered": Kind("filtered", "completions.parquet", version=2),
    "dataset": Kind("datasets", "dataset.parquet", version=2),
    "tokenized": Kind("tokenized", "statistics.json"),
    "student": Kind("students", "model.json"),
    "evaluation": Kind("evaluations", "scores.parquet"),
    "judged": Kind("judged", "completions.parquet"),
    "experiment": Kind("experiments", "scores.parquet", version=2),
}
"""In the order the data flows."""

EXAMPLES = ("positives", "negatives")

MEASURED_FILTERS = frozenset({"majority", "columns"})
"""Answer filters that look at what was computed from all answers to a question."""

ASSESSED_FILTERS = frozenset({"fasttext", "llm_verification"})
"""Answer filters that need an assessment of every answer first."""


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


def expected_rows(stage: Stage) -> int | None:
    """Question rows that a stage of questions is expected to give; null where the catalog does not say."""
    if stage.kind in {"source", "benchmark"}:
        rows = stage.execution.get("rows")
        return None if rows is None else int(rows)
    limit = stage.settings.get("keep") if stage.kind == "selected" else None
    limit = stage.settings.get("count") if stage.kind == "drawn" else limit
    if stage.settings.get("fill"):
        return limit
    inputs = [expected_rows(each) for each in stage.inputs["questions"]]
    known = [rows for rows in inputs if rows is not None]
    before = sum(known) if len(known) == len(inputs) else None
    if limit is not None and limit < 1:
        return None if before is None else math.ceil(limit * before)
    return min((rows for rows in (limit, before) if rows is not None), default=None)
