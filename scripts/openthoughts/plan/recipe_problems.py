"""What is wrong with a recipe, beyond what its schema says: each problem one sentence with its place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openthoughts.answers.filters import FILTERS
from openthoughts.base.cli import UserError
from openthoughts.base.options import did_you_mean, suggestion
from openthoughts.base.options import problems as option_problems
from openthoughts.models.model import API
from openthoughts.models.tokenizer_names import QWEN, is_tokenizer
from openthoughts.plan.catalog import Catalog, grader_problems
from openthoughts.plan.count_problems import count_problems
from openthoughts.plan.prompt_problems import prompt_problems, unknown
from openthoughts.plan.settings.answers import Filter
from openthoughts.plan.settings.questions import Select
from openthoughts.plan.settings.recipe import SHARED, Domain, Recipe
from openthoughts.plan.settings.student import Training, resolved_scale
from openthoughts.questions.labels import METHODS
from openthoughts.sources.entries import written_prompt, written_steps
from openthoughts.training.scales import SettingError


def benchmark_problems(where: str, benchmarks: Sequence[str], catalog: Catalog) -> list[str]:
    """Benchmarks that the catalog does not have, or that cannot be graded."""
    problems: list[str] = []
    for place, name in enumerate(benchmarks):
        problems += unknown(f"{where}.benchmarks.{place}", "benchmark", name, catalog.benchmarks)
        problems += grading_problems(f"{where}.benchmarks.{place}", name, catalog)
    return problems


def recipe_problems(where: str, recipe: Recipe, catalog: Catalog, licences: Sequence[str] | None = None) -> list[str]:
    """Problems of a recipe with the catalog, and of its settings with each other, each once, where it was written."""
    problems: list[str] = []
    for domain, block in recipe.resolved().domains.items():
        path = f"{where}.domains.{domain}"
        found = domain_problems(path, block, catalog) + licence_problems(path, block, catalog, licences)
        problems += [_where_written(problem, where, domain, recipe) for problem in found]
        problems += misspelt_domains(path, domain, block, catalog)
    problems = list(dict.fromkeys(problems))
    training, evaluation = recipe.training, recipe.evaluation
    if training:
        problems += unknown(f"{where}.training.student", "model", training.student, catalog.models)
        problems += unknown(f"{where}.training.scale", "scale", training.scale, catalog.scales)
        student = catalog.models.get(training.student, {})
        if student.get("kind") == API:
            problems.append(f"{where}.training.student: {training.student} is hosted: name a model with weights")
        for key in ("template", "max_model_len") if student and student["kind"] != API else ():
            if key not in student:
                problems.append(f"{where}.training.student: the catalog's entry has no `{key}` to train with: add one")
        if training.scale in catalog.scales:
            problems += scale_problems(f"{where}.training", training, catalog)
    if evaluation:
        if not training:
            problems.append(f"{where}.evaluation: there is no student to evaluate: add `training`")
        problems += benchmark_problems(f"{where}.evaluation", evaluation.benchmarks, catalog)
    return problems


def misspelt_domains(where: str, domain: str, block: Domain, catalog: Catalog) -> Iterator[str]:
    """Sources whose entry has a name that is nearly the domain's: their rows would be of a domain of their own."""
    for place, source in enumerate(block.sources):
        own = catalog.sources.get(source, {}).get("domain", domain)
        is_usual = any(entry["domain"] == domain for entry in catalog.sources.values())
        if own != domain and is_usual and suggestion(own, [domain], 0.75):
            yield f"{where}.sources.{place}: {source} is of the domain '{own}' in its entry (did you mean {domain}?)"


def _where_written(problem: str, where: str, domain: str, recipe: Recipe) -> str:
    """A problem of a domain's settings at the recipe's own, where the domain has them from there."""
    told = problem.removeprefix(f"{where}.domains.{domain}.")
    keys = told.partition(":")[0].split(".")
    own, shared = recipe.domains[domain].written(), recipe.written()
    is_shared = keys[0] in SHARED and keys[0] in shared and _depth(own, keys) < _depth(shared, keys)
    return f"{where}.{told}" if is_shared else problem


def _depth(settings: Any, keys: Sequence[str]) -> int:
    """How many of the keys, one within the other, the settings have."""
    for depth, key in enumerate(keys):
        if not isinstance(settings, Mapping) or key not in settings:
            return depth
        settings = settings[key]
    return len(keys)


def scale_problems(where: str, training: Training, catalog: Catalog) -> list[str]:
    """Settings of a training that its scale does not know, or a batch that its GPUs cannot share."""
    problems: list[str] = []
    overrides = dict(training.overrides)
    while True:
        try:
            scale = resolved_scale(training.changed(overrides=overrides), catalog.scales)
            scale.accumulation(max(1, training.nodes * training.gpus))
        except SettingError as error:
            is_overridden = error.setting in overrides
            path = f"{where}.overrides.{error.setting}" if is_overridden else f"{where}.scale"
            problems.append(f"{path}: {str(error).rstrip('.')}")
            if is_overridden:
                del overrides[error.setting]
                continue
        except UserError as error:
            problems.append(f"{where}: {str(error).rstrip('.')}")
        return problems


def grading_problems(path: str, name: str, catalog: Catalog) -> list[str]:
    """Why a benchmark of the catalog cannot be evaluated."""
    entry = catalog.benchmarks.get(name)
    if entry is None:
        return []
    problems = []
    if entry.get("grader") in {"none", None}:
        problems.append(f"{path}: {name} has no grader and can only be decontaminated against")
    if entry.get("prompt") is not None:
        problems += prompt_problems(f"{path} ({name}.prompt)", entry["prompt"], catalog, {name: entry})
    problems += (wrong := [f"{path}: {name} {each}" for each in grader_problems(entry)])
    if not wrong and "judge" in entry:
        judge = entry["judge"]
        problems += unknown(f"{path} ({name}.judge)", "model", judge["model"], catalog.models)
        problems += prompt_problems(f"{path} ({name}.judge)", judge["prompt"], catalog, {name: entry}, {"response"})
    return problems


def domain_problems(where: str, block: Domain, catalog: Catalog) -> list[str]:
    """Problems of a domain whose settings are resolved."""
    problems: list[str] = []
    for place, source in enumerate(block.sources):
        problems += unknown(f"{where}.sources.{place}", "source", source, catalog.sources)
        entry = catalog.sources.get(source, {})
        if entry.get("connector") == "unresolved":
            problems.append(f"{where}.sources.{place}: {source} cannot be fetched: {entry['note']}")
        if entry.get("connector") == "written":
            problems += unknown(f"{where}.sources.{place}: {source}", "model", entry["model"], catalog.models)
            for step in itertools.chain.from_iterable(written_steps(entry)):
                asked = written_prompt(entry, step)
                problems += prompt_problems(f"{where}.sources.{place}: {source}", asked, catalog, {}, {"domain"}, True)
    if block.top and block.top > len(block.sources):
        problems.append(f"{where}.top: {block.top} of {len(block.sources)} sources: list more or lower it")
    if block.decontaminate.benchmarks is None:
        problems.append(f"{where}.decontaminate: the key 'benchmarks' is missing ([] drops nothing)")
    for place, benchmark in enumerate(block.decontaminate.benchmarks or ()):
        problems += unknown(f"{where}.decontaminate.benchmarks.{place}", "benchmark", benchmark, catalog.benchmarks)
    for section, tokenizer in (("decontaminate", block.decontaminate.tokenizer), ("limit", block.limit.tokenizer)):
        if not is_tokenizer(tokenizer) and (section, tokenizer) != ("limit", "teacher"):
            known = [QWEN, "teacher"] if section == "limit" else [QWEN]
            problems.append(
                f"{where}.{section}.tokenizer: there is no tokenizer {tokenizer!r}{did_you_mean(tokenizer, known)}"
            )
    select = block.select
    problems += count_problems(where, block, catalog)
    problems += label_problems(f"{where}.select", select, catalog)
    teacher_name = block.answers.teacher
    if teacher_name is None:
        problems.append(f"{where}.answers: the key 'teacher' is missing")
    else:
        problems += unknown(f"{where}.answers.teacher", "model", teacher_name, catalog.models)
        teacher = catalog.models.get(teacher_name, {})
        if block.limit.tokenizer == "teacher" and teacher.get("kind") == "api" and "tokenizer" not in teacher:
            problems.append(f"{where}.limit.tokenizer: {teacher_name} is hosted: name the tokenizer that counts")
    problems += filter_problems(f"{where}.filter", block, catalog)
    sources = {source: catalog.sources[source] for source in block.mixed_sources() if source in catalog.sources}
    for section, prompt in (("select", select.prompt), ("answers", block.answers.prompt)):
        if prompt is not None:
            problems += prompt_problems(f"{where}.{section}.prompt", prompt, catalog, sources)
    return problems


def label_problems(where: str, select: Select, catalog: Catalog) -> list[str]:
    """Problems of what the questions of a domain are ranked by."""
    method = METHODS.get(select.by)
    if method is None:
        return []
    problems = example_problems(where, select, catalog) if method.learns else []
    if method.asks is not None and select.model is None:
        problems.append(f"{where}: the key 'model' is missing: {select.by} asks a model")
    elif method.asks is not None:
        problems += unknown(f"{where}.model", "model", str(select.model), catalog.models)
        labeller = catalog.models.get(str(select.model), {})
        if method.asks == "embeddings" and labeller and labeller.get("task") != "embed":
            problems.append(f"{where}.model: {select.model} is not a sentence model: name one with `task: embed`")
    if method.needs_prompt and select.prompt is None:
        problems.append(f"{where}: the key 'prompt' is missing: {select.by} needs a rubric")
    return problems


def example_problems(where: str, block: Select | Filter, catalog: Catalog) -> list[str]:
    """Problems of the examples of a ``select`` or ``filter`` that needs some."""
    if block.examples is None:
        return [f"{where}: the key 'examples' is missing: {block.by} learns from positives and negatives"]
    problems: list[str] = []
    for role in ("positives", "negatives"):
        for place, example in enumerate(getattr(block.examples, role)):
            path = f"{where}.examples.{role}.{place}"
            source = example if isinstance(example, str) else example.source
            problems += unknown(path, "source", source, catalog.sources)
            if catalog.sources.get(source, {}).get("connector") == "unresolved":
                problems.append(f"{path}: {source} cannot be fetched: {catalog.sources[source]['note']}")
            if not isinstance(example, str):
                problems += unknown(path, "model", example.model, catalog.models)
    return problems


def filter_problems(where: str, block: Domain, catalog: Catalog) -> list[str]:
    """Problems of an answer filter and of its numbers."""
    chosen, problems = block.filter, []
    samples = block.answers.samples
    if chosen.candidates is not None:
        if block.draw is not None:
            problems.append(f"{where}.candidates: `draw` says already how many questions are drawn: leave one out")
        if chosen.candidates % samples:
            problems.append(f"{where}.candidates: {chosen.candidates} is not a multiple of the {samples} samples")
        if chosen.keep is not None and chosen.keep > chosen.candidates:
            problems.append(f"{where}.keep: {chosen.keep} of {chosen.candidates} candidates: keep fewer")
    if chosen.keep is not None and "keep" in chosen.options:
        problems.append(f"{where}.options.keep: `keep` of the filter says it already: leave one out")
    if chosen.by in FILTERS:
        problems += option_problems(FILTERS[chosen.by], chosen.chosen_options(), f"{where}.options")
    assessed_by = FILTERS[chosen.by].assessed_by if chosen.by in FILTERS else None
    if assessed_by == "classifier":
        problems += example_problems(where, chosen, catalog)
    if assessed_by == "model":
        if chosen.model is None:
            problems.append(f"{where}: the key 'model' is missing: {chosen.by} asks a model")
        else:
            problems += unknown(f"{where}.model", "model", chosen.model, catalog.models)
        sources = {source: catalog.sources[source] for source in block.mixed_sources() if source in catalog.sources}
        problems += prompt_problems(f"{where}.prompt", chosen.prompt, catalog, sources, {"answer", "response"})
    return problems


def licence_problems(where: str, block: Domain, catalog: Catalog, licences: Sequence[str] | None) -> list[str]:
    """Sources that a domain mixes although their licence is not among ``licences`` (None allows all)."""
    if licences is None:
        return []
    allowed = {licence.lower() for licence in licences}
    problems = []
    for place, source in enumerate(block.mixed_sources()):
        licence = str(catalog.sources.get(source, {}).get("licence", "unknown"))
        if source in catalog.sources and licence.lower() not in allowed:
            remedy = "state it in the catalog" if licence == "unknown" else "allow it"
            problems.append(
                f"{where}.sources.{place}: the licence of {source} ({licence}) is not among `licences`: "
                f"{remedy}, or choose another source"
            )
    return problems
