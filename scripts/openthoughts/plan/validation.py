"""What is wrong with a configuration, beyond what its schema says: each problem one sentence with its place."""

from __future__ import annotations

from openthoughts.base.cli import UserError
from openthoughts.base.options import checked, checked_further, did_you_mean, repaired
from openthoughts.plan.catalog import Catalog, read_catalog
from openthoughts.plan.config import ConfigurationError, Settings
from openthoughts.plan.experiment_problems import experiment_problems
from openthoughts.plan.prompt_problems import unknown
from openthoughts.plan.recipe_problems import recipe_problems
from openthoughts.plan.settings.configuration import Configuration


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
    whole, problems = checked_further(Configuration, config, "", lambda each: reference_problems(each, catalog))
    if problems or whole is None:
        raise ConfigurationError(problems)
    return whole


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
