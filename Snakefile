# From question sources to a scored student, in the order the data flows.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/cluster.smk"
include: "rules/arguments.smk"
include: "rules/sources.smk"
include: "rules/models.smk"
include: "rules/written.smk"
include: "rules/clean.smk"
include: "rules/select.smk"
include: "rules/mix.smk"
include: "rules/answers.smk"
include: "rules/dataset.smk"
include: "rules/training.smk"
include: "rules/evaluation.smk"
include: "rules/experiments.smk"
include: "rules/recipes.smk"
include: "rules/tools.smk"


onstart:
    refuse_unpinned()


rule all:
    "Everything that `targets:` asks for."
    default_target: True
    input:
        [recipe_goals(name) for name in PLAN.recipes],
        [f"{RESULTS}/experiments/{name}/manifest.json" for name in PLAN.experiments],
    localrule: True
