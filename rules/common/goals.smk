# What a user asks for: recipes and experiments by their names, and what each ends in.
from openthoughts.base.hashing import digest
from openthoughts.costs.estimates import plots_of, sensitive
from openthoughts.plan.plan_file import Configured
from openthoughts.report.manifest import Recipe


def recipe_goals(name):
    """What a recipe is asked for: the stages at its end, its manifest and page, and the plots that it has data for."""
    recipe = PLAN.recipes[name]
    return [
        *map(PLAN.path, recipe.goals()),
        f"{RESULTS}/recipes/{name}/manifest.json",
        f"{RESULTS}/recipes/{name}/report.html",
        *(f"{RESULTS}/recipes/{name}/plots/{p}.svg" for p in plots_of(recipe)),
        *sensitivity_tables(name),
    ]


def experiment_goals(name):
    """What an experiment is asked for: its comparison and the scores of its arms."""
    experiment = PLAN.experiments[name]
    scored = [stage for arm in experiment.evaluations.values() for stage in arm]
    return [
        f"{RESULTS}/experiments/{name}/manifest.json",
        *comparison_files(name),
        *dict.fromkeys(map(PLAN.path, scored)),
    ]


def comparison_files(name):
    """What the comparison of an experiment's arms consists of."""
    stage = PLAN.experiments[name].stage
    return [
        PLAN.path(stage, file)
        for file in ("scores.tsv", "scores.parquet", "plot.svg", "summary.md")
    ]


def sensitivity_tables(name):
    """What other thresholds of decontamination would drop, for the domains of a recipe that ask for it."""
    stages = sensitive(PLAN.recipes[name], SETTINGS["recipes"][name])
    return [PLAN.path(stage, "sensitivity.parquet") for stage in stages]


def recipe_files(kind, file=None):
    """Input function: the file of every stage of a kind in a recipe."""
    return lambda wildcards: [
        PLAN.path(stage, file)
        for stage in PLAN.recipes[wildcards.recipe].stages()
        if stage.kind == kind
    ]


def described_files(wildcards):
    """Input function: the main file of every stage of a recipe."""
    return [
        PLAN.path(stage)
        for stage in PLAN.recipes[wildcards.recipe].stages()
        if stage.kind != "tokenized"
    ]


def description(wildcards):
    """Params function: the digest of what a manifest reports, which is written again where it changes."""
    recipe = Recipe.planned(PLAN, PLAN.recipes[wildcards.recipe])
    told = [(stage.name, stage.domain, stage.about) for stage in recipe.stages.values()]
    return digest(told, 16)


def comparisons(wildcards):
    """Input function: the comparisons of the experiments that vary a recipe."""
    varying = Configured(SETTINGS, PLAN).varying(wildcards.recipe)
    return [PLAN.path(experiment.stage) for experiment in varying]


def plot(name, category, label=None):
    """The picture of a plot, which Snakemake's report shows."""
    return report(
        f"<results>/recipes/{{recipe}}/plots/{name}.svg",
        caption=f"../report/{name}.rst",
        category=category,
        labels={"recipe": "{recipe}", "plot": label or name},
    )


def plot_table(name, category):
    """The numbers of a plot, which Snakemake's report shows."""
    return report(
        f"<results>/recipes/{{recipe}}/plots/{name}.tsv",
        caption=f"../report/{name}.rst",
        category=category,
        labels={"recipe": "{recipe}", "plot": f"{name} (table)"},
    )
