# The plan, and the few helpers that look things up in it.
import functools
import json
import shlex
import sys

sys.path.insert(
    0, workflow.current_basedir.join("../scripts").get_path_or_uri(secret_free=True)
)

from snakemake.exceptions import WorkflowError

from openthoughts.base.cli import UserError
from openthoughts.plan.config import prepared
from openthoughts.costs.estimates import (
    budget_warnings,
    estimate,
    estimates_of_kinds,
    plots_of,
    sensitive,
    total,
)
from openthoughts.plan.planner import make_plan
from openthoughts.plan.validation import configured
from openthoughts.plan.expectations import engine_gpus, served_entry
from openthoughts.plan.register import FETCHED, LABELS, LEVELS, inference
from openthoughts.plan.shards import shard_path
from openthoughts.sources.entries import needs_pin

try:
    config.update(prepared(config))
    CONFIGURATION, catalog_entries = configured(config)
    CATALOG = list(CONFIGURATION.catalog)
    PLAN = make_plan(CONFIGURATION, catalog_entries)
except UserError as error:
    raise WorkflowError(str(error)) from None

if not workflow.remote_exec:
    for warning in (
        *PLAN.warnings,
        *budget_warnings(
            total(estimate(PLAN.index.values()).values()), config.get("budget") or {}
        ),
    ):
        logger.warning(warning)

# Constants in shell lines, never params: where things lie and which interpreter runs must not cause a rerun.
PY = sys.executable
STORE = config.get("store", "store")
ACCELERATOR = config.get("accelerator", "cuda")
RESULTS = PLAN.results
LOGS = f"{RESULTS}/logs"
USAGE = f"{RESULTS}/usage"


pathvars:
    results=RESULTS,
    logs=LOGS,
    usage=USAGE,


wildcard_constraints:
    id=r"[a-z0-9._-]+-[0-9a-f]{12}",
    shard=r"\d+",
    shards=r"\d+",


def files(kind, role, file="questions.parquet"):
    """Input function: the file of every stage that plays a role for the stage of the wildcard id."""
    return lambda wildcards: [
        PLAN.path(stage, file)
        for stage in PLAN.stage(kind, wildcards.id).inputs.get(role, ())
    ]


def setting(kind, *names):
    """Params function: a setting of the stage of the wildcard id; mappings and lists as JSON."""

    def lookup(wildcards):
        value = PLAN.stage(kind, wildcards.id).settings
        for name in names:
            value = value[name]
        return (
            json.dumps(value, sort_keys=True)
            if isinstance(value, (dict, list))
            else value
        )

    return lookup


def all_if_none(kind, name):
    """Params function: a number of rows of the stage of the wildcard id, or `all`."""

    def lookup(wildcards):
        value = PLAN.stage(kind, wildcards.id).settings[name]
        return "all" if value is None else value

    return lookup


def shard_files(kind):
    """Input function: the shards of the stage of the wildcard id."""

    def lookup(wildcards):
        stage = PLAN.stage(kind, wildcards.id)
        return [
            shard_path(PLAN, stage, shard) for shard in range(stage.execution["shards"])
        ]

    return lookup


def revision_flag(kind):
    """Params function: the argument of the pinned revision, or nothing where the lock has none."""

    def lookup(wildcards):
        pin = PLAN.stage(kind, wildcards.id).settings.get("pin")
        return (
            f"--revision {pin['revision']}"
            if isinstance(pin, dict) and "revision" in pin
            else ""
        )

    return lookup


def refuse_unpinned():
    """End a run, before its first job, that would fetch what the lock does not pin."""
    fetches = {
        (job.rule.name.removeprefix("fetch_"), job.wildcards.id)
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in {f"fetch_{kind}" for kind in FETCHED}
    }
    stages = [PLAN.stage(kind, id) for kind, id in fetches]
    loose = sorted(
        stage.settings["name"]
        for stage in stages
        if needs_pin(stage.settings["entry"]) and "pin" not in stage.settings
    )
    if loose:
        raise WorkflowError(
            f"not pinned to a commit or checksum: {', '.join(loose)}: run `snakemake lock`, then again."
        )


def prompt_flag(kind):
    """Params function: the prompt's argument, or nothing where the bare question is asked."""

    def lookup(wildcards):
        path = PLAN.stage(kind, wildcards.id).execution["prompt"]
        return f"--prompt {shlex.quote(path)}" if path else ""

    return lookup


def served(kind, wildcards):
    """The catalog's entry of the model that a stage asks."""
    return served_entry(PLAN.stage(kind, wildcards.id).input("model"))


def asks_api(kind, wildcards):
    """Whether the model that a stage asks is a hosted one."""
    return is_api(served(kind, wildcards))


def is_api(entry):
    """Whether a catalog entry is a hosted model's."""
    return entry["kind"] == "api"


@functools.cache
def asked_models(kind):
    """The catalog's entries of the models that stages of a kind ask, each once."""
    asked = {
        stage.input("model")
        for stage in PLAN.index.values()
        if stage.kind == kind and inference(stage)
    }
    return [served_entry(model) for model in asked]


def of_model(kind, value):
    """Resource function: what `value` makes of the catalog's entry of the asked model.

    Where all models give the same it is no function but the value, which a large graph evaluates much faster.
    """
    values = {value(entry) for entry in asked_models(kind)}
    if len(values) == 1:
        return values.pop()
    return lambda wildcards: value(served(kind, wildcards))


def serving(kind, name, default):
    """Resource function: one of the catalog's settings of how the asked model is served."""
    return of_model(kind, lambda entry: entry.get("serving", {}).get(name, default))


def entry_json(kind, name):
    """Resource function: a key of the asked model's catalog entry as JSON, nothing where it has none."""
    return of_model(
        kind, lambda entry: json.dumps(entry[name]) if entry.get(name) else ""
    )


def entry_gpus(entry):
    """GPUs of the engine that serves a model of the catalog."""
    return 0 if ACCELERATOR == "cpu" else engine_gpus(entry)


def asking_threads(kind):
    """Threads function: cores of a job that asks a model, and of the engine that it may start."""

    def lookup(wildcards):
        stage, entry = PLAN.stage(kind, wildcards.id), served(kind, wildcards)
        return inference(stage).threads(entry, entry_gpus(entry))

    return lookup


def asking_memory(kind):
    """Resource function: memory (MB) of a job that asks a model, and of the engine that it may start."""

    def lookup(wildcards, attempt):
        gpus = entry_gpus(served(kind, wildcards))
        return inference(PLAN.stage(kind, wildcards.id)).memory_mb(gpus, attempt)

    return lookup


def asking(kind):
    """The resources of a rule that asks a model; none of them changes an answer."""
    return {
        "gpu": of_model(kind, entry_gpus),
        "engine": of_model(kind, lambda entry: 0 if is_api(entry) else 1),
        "network": of_model(kind, lambda entry: 1 if is_api(entry) else 0),
        "accelerator": ACCELERATOR,
        "grace": 20,
        "max_failed": str(config.get("max_failed", 0.01)),
        "concurrency": serving(kind, "concurrency", 64),
        "tensor_parallel": serving(kind, "tensor_parallel", 1),
        "data_parallel": serving(kind, "data_parallel", 1),
        "engine_args": serving(kind, "engine_args", ""),
        "requests_per_minute": serving(kind, "requests_per_minute", 0),
        "tokens_per_minute": serving(kind, "tokens_per_minute", 0),
        "mode": serving(kind, "mode", "live"),
        "price": entry_json(kind, "price"),
        "endpoint": entry_json(kind, "endpoint"),
        "budget_usd": str((config.get("budget") or {}).get("usd") or 0),
        "budget_gpu_hours": str((config.get("budget") or {}).get("gpu_hours") or 0),
        **engine_placement(kind),
    }


# What every rule that asks a model appends to its shell line.
ASKING = (
    " --store {STORE} --max-failed {resources.max_failed} --accelerator {resources.accelerator}"
    " --concurrency {resources.concurrency} --tensor-parallel {resources.tensor_parallel}"
    " --data-parallel {resources.data_parallel} --engine-args={resources.engine_args:q}"
    " --endpoint={resources.endpoint:q}"
    " --requests-per-minute {resources.requests_per_minute} --tokens-per-minute {resources.tokens_per_minute}"
    " --grace {resources.grace}"
    " --mode {resources.mode} --price={resources.price:q} --budget-usd {resources.budget_usd}"
    " --budget-gpu-hours {resources.budget_gpu_hours}"
    " > {log} 2>&1"
)


def answers_runtime(wildcards):
    """Minutes of one shard: twice what its tokens take at the catalog's speed, at least two hours."""
    stage = PLAN.stage("answers", wildcards.id)
    speed = served("answers", wildcards).get("serving", {})
    if not {"tokens_per_second", "tokens_per_answer"} <= set(speed):
        return 720
    tokens = (
        stage.execution["expected"]
        / stage.execution["shards"]
        * speed["tokens_per_answer"]
    )
    return max(120, round(2 * tokens / speed["tokens_per_second"] / 60))


def training_gpus(wildcards):
    """GPUs a node of a training."""
    return (
        0
        if ACCELERATOR == "cpu"
        else PLAN.stage("student", wildcards.id).execution["gpus"]
    )


def training_nodes(wildcards):
    """Nodes of a training."""
    return PLAN.stage("student", wildcards.id).execution["nodes"]
