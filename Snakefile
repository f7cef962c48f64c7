# From question sources to a scored student, in the order the data flows.
from importlib.metadata import version

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")
# What is used of Snakemake beside its language may change with a major version: docs/decisions/private-snakemake.md.
if int(version("snakemake").partition(".")[0]) >= 10:
    raise WorkflowError(
        f"Snakemake {version('snakemake')} is newer than this workflow: install 'snakemake>=9.27,<10'."
    )


configfile: workflow.current_basedir.join("config.yaml").get_path_or_uri(secret_free=True)


include: "rules/common/plan.smk"
include: "rules/common/inputs.smk"
include: "rules/common/policy.smk"
include: "rules/common/resources.smk"
include: "rules/common/goals.smk"
include: "rules/common/allocations.smk"
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
        [experiment_goals(name) for name in PLAN.experiments],
    localrule: True
