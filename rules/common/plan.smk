# The configuration and the plan, and the constants of shell lines.
import functools
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

HERE = Path(workflow.current_basedir.join("../..").get_path_or_uri(secret_free=True))
HERE = HERE.resolve()
if not (HERE / "scripts").is_dir():
    raise WorkflowError(
        "this workflow runs programs of its own: clone it, and name the Snakefile of the clone."
    )
sys.path.insert(0, str(HERE / "scripts"))

from openthoughts.base.cli import UserError
from openthoughts.plan.config import merged, prepared, read_yaml, typed
from openthoughts.costs.estimates import budget_warnings, estimate, total
from openthoughts.costs.fitting import memory_warnings
from openthoughts.costs.shutdowns import shutdown_warnings
from openthoughts.plan.planner import make_plan
from openthoughts.plan.validation import configured


def site(name):
    """What the profile's default-resources say of this cluster; None on a single machine, and for what is empty."""
    named = workflow.resource_settings._parsed_default_resources.get(name)
    return (
        named.evaluate(
            None, input=[], attempt=1, threads=1, rulename="", async_run=None
        ).value
        or None
        if named is not None
        else None
    )


try:
    for file in workflow.config_settings.configfiles:
        read_yaml(Path(file))  # Snakemake takes the last of a key that is there twice
    SETTINGS = prepared(merged(config, typed(dict(workflow.config_settings.config))))
    if SETTINGS.get("gpu") is None and site("gpu_card"):
        SETTINGS = {**SETTINGS, "gpu": site("gpu_card")}
    CONFIGURATION, entries = configured(SETTINGS)
    CATALOG = list(CONFIGURATION.catalog)
    PLAN = make_plan(CONFIGURATION, entries)
except UserError as error:
    raise WorkflowError(str(error)) from None

STORE = CONFIGURATION.store
ACCELERATOR = CONFIGURATION.accelerator
BUDGET = CONFIGURATION.budget.model_dump()
MAX_FAILED = CONFIGURATION.max_failed
RESULTS = PLAN.results
LOGS = f"{RESULTS}/logs"
USAGE = f"{RESULTS}/usage"

if not workflow.remote_exec:
    for warning in (
        *PLAN.warnings,
        *shutdown_warnings(PLAN.index.values()),
        *memory_warnings(PLAN.index.values()),
        *budget_warnings(total(estimate(PLAN.index.values()).values()), BUDGET),
    ):
        logger.warning(warning)


# Constants in shell lines, never params: which interpreter runs and where the programs lie must not cause a rerun.
PY = shlex.quote(sys.executable)
SCRIPTS = "scripts" if HERE.samefile(".") else shlex.quote(str(HERE / "scripts"))
# A job runs its line with the constants of this Snakefile, but shows it with those of the outermost one, which is another
# where this workflow is imported as a module.
workflow.modifier_stack[0].globals.update(PY=PY, SCRIPTS=SCRIPTS)


pathvars:
    results=RESULTS,
    logs=LOGS,
    usage=USAGE,


wildcard_constraints:
    id=r"[a-z0-9._-]+-[0-9a-f]{12}",
    shard=r"\d+",
    shards=r"\d+",
