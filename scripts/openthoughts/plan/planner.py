"""From the configuration to the plan: every stage of every recipe, with its settings, its inputs and its id.

``make_plan`` is a pure function of the configuration and the catalog. The Snakefile only looks things up in its result,
so the graph, the costs and the experiment matrix cannot disagree. It is run again by every cluster job: it imports
nothing heavy and touches no network.

The id of a stage is a label of what it is about (never a recipe's name: recipes that agree share the stage) and 12 hex
digits of the hash of its kind, the kind's version, its settings that affect the output, and the ids of its inputs. How
a stage is run (shards, GPUs, concurrency) is ``execution`` and never part of an id.
"""

from __future__ import annotations

from openthoughts.base.cli import UserError
from openthoughts.plan.budget_problems import budget_problems
from openthoughts.plan.catalog import Catalog, ContentOf, content_of
from openthoughts.plan.config import ConfigurationError, Settings
from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.parts.experiments import plan_experiment
from openthoughts.plan.parts.recipe import plan_recipe
from openthoughts.plan.recipe_warnings import recipe_warnings
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.stages import Plan
from openthoughts.plan.validation import validated


def make_plan(config: Configuration | Settings, catalog: Catalog, content: ContentOf = content_of) -> Plan:
    """The plan of a configuration, as it is written or as ``configured`` has validated it.

    ``ConfigurationError`` lists every problem found.
    """
    whole = config if isinstance(config, Configuration) else validated(config, catalog)
    problems: list[str] = []

    def content_or_problem(path: str) -> str:
        try:
            return content(path)
        except UserError as error:
            problems.append(str(error).rstrip("."))
            return ""

    build = Builder(catalog, content_or_problem, whole.shard_hours, whole.gpu, whole.accelerator)
    wanted = set(whole.targets)
    recipes = {name: recipe.resolved() for name, recipe in whole.recipes.items()}
    recipe_plans = {name: plan_recipe(build, name, recipe) for name, recipe in recipes.items() if name in wanted}
    experiment_plans = {
        name: plan_experiment(build, name, experiment, whole.recipes)
        for name, experiment in whole.experiments.items()
        if name in wanted
    }
    problems += budget_problems(build.index.values()) if whole.budget.usd is not None else []
    if problems:
        raise ConfigurationError(problems)
    bases = [base for name in experiment_plans if (base := whole.experiments[name].base)]
    warned = dict.fromkeys(
        warning for name in [*recipe_plans, *bases] for warning in recipe_warnings(name, recipes[name], catalog)
    )
    return Plan(whole.results, recipe_plans, experiment_plans, whole.targets, tuple(warned), build.index)
