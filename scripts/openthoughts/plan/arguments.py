"""What stages hand to their programs beside their settings: arguments read off the plan.

A shell line may be only so long, and a list of inputs any length: a long one is in a file that is addressed by its
content, and ``@FILE`` stands for its lines (``openthoughts.base.cli.expanded``).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import LIST
from openthoughts.plan.plan_file import content_path, write_once
from openthoughts.plan.register import DROPPING, FETCHED, inference
from openthoughts.plan.stages import Plan, Stage

LONGEST = 300
"""Characters that an argument, or a list of arguments, takes in a shell line at most."""


class Argument(str):
    """What a program is given: whole as text, so that a change of it is noticed; short in a formatted shell line."""

    shown: str

    def __format__(self, spec: str) -> str:
        return format(self.shown, spec)


def argument(text: str, lines: Sequence[str], folder: Path | str, write: bool) -> str:
    """``text``, the arguments ``lines`` as a shell line has them; where it is long, ``@FILE`` in a shell line.

    ``write``: write the file, which lies in ``folder``.
    """
    if len(text) <= LONGEST or any("\n" in line for line in lines):
        return text
    listed = "\n".join(lines)
    path = content_path(folder, listed, LIST)
    if write:
        write_once(path, listed)
    short = Argument(text)
    short.shown = shlex.quote(f"@{path}")
    return short


def quoted(words: Sequence[str]) -> str:
    """Arguments as a shell line has them."""
    return " ".join(map(shlex.quote, words))


def dataset_domains(plan: Plan, dataset: Stage) -> list[str]:
    """The domains of a dataset with their questions, their answers and what was measured of these."""
    words: list[str] = []
    inputs = dataset.inputs
    tables = zip(inputs["drawn"], inputs["answers"], inputs["measured"], strict=True)
    for domain, stages in zip(dataset.settings["domains"], tables, strict=True):
        words += ["--domain", domain, *map(plan.path, stages)]
    return words


def source_licences(plan: Plan, dataset: Stage) -> str:
    """The licence of every source of a dataset, as a JSON object."""
    licences = {
        stage.settings["name"]: stage.execution.get("licence", "unknown")
        for stage in dataset.upstream()
        if stage.kind == "source"
    }
    return json.dumps(licences, sort_keys=True)


def selection_policy(plan: Plan, selected: Stage) -> list[str]:
    """What is counted, the threshold of a selection by label, and what becomes of questions without one."""
    settings = selected.settings
    counted = ["--count", settings["counted"]] if "counted" in settings else []
    if settings["by"] == "random":
        return counted
    least = settings["at_least"]
    threshold = [] if least is None else ["--at-least", str(least)]
    return [*counted, "--unlabelled", settings["unlabelled"], *threshold]


def draw_policy(plan: Plan, drawn: Stage) -> list[str]:
    """What becomes of a draw that comes out short, and the tables of the stages before it, which tell why."""
    if drawn.settings["count"] is None or drawn.settings.get("fill"):
        return []
    levels: dict[str, list[Stage]] = {}
    stages = list(drawn.inputs["questions"])
    while stages:
        for stage in stages:
            levels.setdefault(stage.kind, []).append(stage)
        stages = list(dict.fromkeys(each for stage in stages for each in _made_of(stage)))
    origins = _origins(drawn)
    words = ["--short", drawn.execution["short"], "--before", "read", *map(plan.path, origins)]
    for kind, found in reversed(levels.items()):
        every_origin = {each for one in found for each in _origins(one)} == set(origins)
        if kind in DROPPING and every_origin:
            words += ["--before", kind, *map(plan.path, found)]
    return words


def _made_of(stage: Stage) -> tuple[Stage, ...]:
    """The stages of questions that a stage is made of; none where a model writes its questions."""
    return () if inference(stage) else stage.inputs.get("questions", ())


def _origins(stage: Stage) -> dict[Stage, None]:
    """The stages where the questions of a stage come from, each once, in order."""
    before = _made_of(stage)
    return dict.fromkeys(each for one in before for each in _origins(one)) if before else {stage: None}


def filter_evidence(plan: Plan, filtered: Stage) -> list[str]:
    """What a filter of answers looks at beside them."""
    words: list[str] = []
    for role, stages in filtered.inputs.items():
        if role not in ("questions", "answers"):
            words += [f"--{role}", *map(plan.path, stages)]
    return words


def sampled_benchmarks(plan: Plan, evaluation: Stage) -> list[str]:
    """The benchmarks of an evaluation with their questions, prompts and numbers of answers."""
    words: list[str] = []
    tasks = zip(
        evaluation.settings["tasks"], evaluation.inputs["benchmarks"], evaluation.execution["prompts"], strict=True
    )
    for task, questions, prompt in tasks:
        words += ["--benchmark", task["benchmark"], plan.path(questions), prompt or "-", str(task["samples"])]
    return words


def graded_benchmarks(plan: Plan, evaluation: Stage) -> list[str]:
    """The benchmarks of an evaluation with their questions and graders."""
    words: list[str] = []
    for task, questions in zip(evaluation.settings["tasks"], evaluation.inputs["benchmarks"], strict=True):
        words += ["--benchmark", task["benchmark"], plan.path(questions), task["grader"]]
    return words


def pinned_names(plan: Plan) -> list[str]:
    """The sources, benchmarks and models of a plan."""
    words: list[str] = []
    for kind in FETCHED:
        names = {stage.settings["name"] for stage in plan.index.values() if stage.kind == kind}
        words += [f"--{kind}s", *sorted(names)]
    return words
