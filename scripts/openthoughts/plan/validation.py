"""What is wrong with a configuration, beyond what its schema says: each problem one sentence with its place."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from openthoughts.answers.filters import FILTERS
from openthoughts.base.cli import UserError
from openthoughts.base.options import Options, checked, did_you_mean, repaired
from openthoughts.base.options import problems as option_problems
from openthoughts.models.model import API
from openthoughts.models.tokenizer_names import QWEN, is_tokenizer
from openthoughts.plan.arms import arm_evaluation, arm_overrides, arm_recipe, colliding_arms, curve_points
from openthoughts.plan.catalog import Catalog, grader_problems, read_catalog
from openthoughts.plan.config import ConfigurationError, Settings
from openthoughts.plan.prompt_problems import prompt_problems, unknown
from openthoughts.plan.settings.answers import Filter
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.settings.experiment import Experiment
from openthoughts.plan.settings.questions import Select
from openthoughts.plan.settings.recipe import SHARED, Domain, Recipe
from openthoughts.plan.settings.student import Evaluation, Training, resolved_scale
from openthoughts.questions.labels import METHODS
from openthoughts.sources.entries import written_prompt, written_steps
from openthoughts.training.scales import SettingError

AnyOptions = TypeVar("AnyOptions", bound=Options)


def configured(config: Settings) -> tuple[Configuration, Catalog]:
    """A configuration as a model, with its catalog. ``ConfigurationError`` lists every problem of both."""
    whole, problems = checked(Configuration, config)
    rest = whole or repaired(Configuration, config)[0]
    if rest is None:
        raise ConfigurationError(problems)
    try:
        catalog = read_catalog(rest.catalog)
    except UserError as error:
        found = error.problems if isinstance(error, ConfigurationError) else [str(error).rstrip(".")]
        raise ConfigurationError([*problems, *found]) from None
    return validated(config, catalog), catalog


def validated(config: Settings, catalog: Catalog) -> Configuration:
    """The configuration as a model. ``ConfigurationError`` lists every problem found, those with the catalog too."""
    whole, problems = _checked(Configuration, config, "", lambda each: reference_problems(each, catalog))
    if problems or whole is None:
        raise ConfigurationError(problems)
    return whole


def _checked(
    model: type[AnyOptions], settings: Any, where: str, look: Callable[[AnyOptions], list[str]]
) -> tuple[AnyOptions | None, list[str]]:
    """Settings as a model, and every problem: those of their types, and those that ``look`` finds in the rest."""
    whole, problems = checked(model, settings, where)
    if whole is not None:
        return whole, look(whole)
    rest, left_out = repaired(model, settings)
    named = re.compile(f"[`'](?:{'|'.join(map(re.escape, sorted(left_out)))})[`']")
    return None, problems + [each for each in (look(rest) if rest else ()) if not named.search(each)]


def checked_configuration(config: Settings) -> Configuration:
    """The configuration as a model, without a look at the catalog. ``ConfigurationError`` lists every problem."""
    whole, problems = checked(Configuration, config)
    if whole is None:
        raise ConfigurationError(problems)
    return whole


def reference_problems(config: Configuration, catalog: Catalog) -> list[str]:
    """Names that nothing defines, and settings that do not go together, in recipes, experiments and targets."""
    problems: list[str] = []
    recipes, experiments, licences = config.recipes, config.experiments, config.licences
    if config.gpu is not None:
        problems += unknown("gpu", "GPU", config.gpu, catalog.gpus)
    for target in config.targets:
        if target not in recipes and target not in experiments:
            known = [*recipes, *experiments]
            problems.append(f"targets: there is no recipe or experiment '{target}'{did_you_mean(target, known)}")
        if target in recipes and target in experiments:
            problems.append(f"targets: '{target}' names a recipe and an experiment: rename one")
    for name, recipe in recipes.items():
        problems += recipe_problems(f"recipes.{name}", recipe, catalog, licences)
    for name, experiment in experiments.items():
        where = f"experiments.{name}"
        if experiment.base is not None and experiment.base not in recipes:
            known_base = did_you_mean(experiment.base, recipes)
            problems.append(f"{where}.base: there is no recipe '{experiment.base}'{known_base}")
            continue
        problems += experiment_problems(where, experiment, recipes, catalog, licences)
    return problems


def experiment_problems(
    where: str,
    experiment: Experiment,
    recipes: Mapping[str, Recipe],
    catalog: Catalog,
    licences: Sequence[str] | None = None,
) -> list[str]:
    """Problems of an experiment: each distinct setting is tried on the base recipe alone."""
    problems = comparison_problems(where, experiment, catalog)
    for place, model in enumerate(experiment.models):
        problems += unknown(f"{where}.models.{place}", "model", model, catalog.models)
    if experiment.base is None:
        wanted, broken = checked(Evaluation, arm_evaluation(experiment, {}), f"{where}.evaluation")
        known = benchmark_problems(f"{where}.evaluation", wanted.benchmarks, catalog) if wanted else []
        return [*problems, *broken, *known]
    base = recipes[experiment.base]
    if base.training is None or base.evaluation is None:
        problems.append(f"{where}.base: '{experiment.base}' needs `training` and `evaluation` to be compared")
    arms = arm_overrides(experiment)
    for label in colliding_arms(experiment):
        problems.append(f"{where}.vary: two arms would be called '{label}': name them under `arms:`")
    if experiment.seeds and any("training.seed" in overrides for overrides in arms.values()):
        problems.append(f"{where}.seeds: training.seed is varied already: leave one of the two out")
    if experiment.draws > 1 and all(domain.draw is None for domain in base.domains.values()):
        problems.append(f"{where}.draws: '{experiment.base}' draws all questions, so its draws are equal: set `draw`")
    return problems + arm_problems(where, experiment, base, catalog, licences)


def arm_problems(
    where: str, experiment: Experiment, base: Recipe, catalog: Catalog, licences: Sequence[str] | None
) -> list[str]:
    """Problems of the recipes of an experiment's arms, each once, where the experiment says what is wrong.

    What the base recipe has, too, is told of the base recipe.
    """
    problems: list[str] = []
    written = base.written()
    tried: set[str] = set()
    told = {problem.removeprefix("base") for problem in recipe_problems("base", base, catalog, licences)}
    for number, (arm, overrides) in enumerate(arm_overrides(experiment).items()):
        new = {f"{path}={value!r}" for path, value in overrides.items()} - tried
        tried |= new
        if not new and number:
            continue
        settings = arm_recipe(experiment, written, overrides)
        _, broken = _checked(Recipe, settings, "arm", lambda each: recipe_problems("arm", each, catalog, licences))
        for problem in broken:
            if (sentence := problem.removeprefix("arm")) not in told:
                told.add(sentence)
                problems.append(f"{where}.{_where_varied(experiment, arm, overrides, sentence)}")
    return problems


def _where_varied(experiment: Experiment, arm: str, overrides: Mapping[str, Any], sentence: str) -> str:
    """A problem of an arm's recipe, `.PATH: …`, at the dotted path of the experiment that it comes from."""
    place, _, told = sentence.removeprefix(".").partition(": ")
    unknown_key = re.match(r"unknown key '([^']+)'", told)
    keys = [*place.split("."), *([unknown_key[1]] if unknown_key else [])]
    cause = max(overrides, key=lambda each: _shared(each.split("."), keys), default="")
    if not _shared(cause.split("."), keys):
        return f"arms.{arm}{sentence}"
    named = [
        name
        for name, settings in experiment.arms.items()
        if settings and cause in settings and (arm == name or arm.startswith(f"{name}-"))
    ]
    section = f"arms.{max(named, key=len)}" if named else "vary" if cause in experiment.vary else "set"
    if not f"{place}.".startswith(f"{cause}."):
        return f"{section}.{cause}: {told}" if unknown_key else f"{section}.{cause}: {place}: {told}"
    return f"{section}.{place}: {told}"


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many keys two paths begin with together."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def comparison_problems(where: str, experiment: Experiment, catalog: Catalog) -> list[str]:
    """What cannot be compared or drawn: an arm that is not there, a curve without numbers, unknown figures."""
    problems: list[str] = []
    arms = [*arm_overrides(experiment), *experiment.models]
    compare_to = experiment.compare_to
    if compare_to is not None and compare_to not in arms:
        problems.append(f"{where}.compare_to: there is no arm '{compare_to}'{did_you_mean(compare_to, arms)}")
    for arm in sorted({arm for arm in arms if arms.count(arm) > 1}):
        problems.append(f"{where}.models: '{arm}' is the name of another arm too: name that one under `arms:`")
    published = experiment.published
    if published is not None and published not in catalog.published:
        problems.append(f"{where}.published: the catalog has no figures '{published}'")
    if (experiment.plot == "curve") != (experiment.x is not None):
        problems.append(f"{where}.x: it belongs to `plot: curve`, and a curve needs it (a varied path, or rows)")
    elif experiment.x is not None and experiment.x != "rows":
        for arm, (value, _) in curve_points(experiment, experiment.x).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                problems.append(f"{where}.x: the arm '{arm}' sets no number at {experiment.x}")
    return problems


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
    problems += keep_problems(f"{where}.select.keep", select.keep, len(block.mixed_sources()))
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


def keep_problems(path: str, keep: float | None, sources: int) -> list[str]:
    """Why a number or fraction of questions cannot be kept of so many sources."""
    if keep is None or keep < 1:
        return []
    if keep != int(keep):
        return [f"{path}: {keep:g} is neither a whole number of questions nor a fraction below 1"]
    if keep < sources:
        return [f"{path}: {keep:g} questions cannot be shared by {sources} sources: keep more"]
    return []


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
