# What jobs need: memory, time, threads, GPUs, and how a model is asked. None of it changes an output.
from openthoughts.plan.expectations import served_entry
from openthoughts.plan.speeds import (
    CONCURRENCY,
    answer_seconds,
    engine_gpus,
    tensor_parallel,
)
from openthoughts.plan.register import inference


def growing(memory, minutes, steady=False):
    """Memory (MB) and time of a job, more at each attempt; `steady`: the memory stays."""
    return {
        "mem_mb": memory if steady else lambda wildcards, attempt: memory * attempt,
        "runtime": lambda wildcards, attempt: minutes * attempt,
    }


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


def asking(kind, minutes):
    """The resources of a rule that asks a model; none of them changes an answer; `minutes` is a number or a function."""
    return {
        "mem_mb": asking_memory(kind),
        "runtime": lambda wildcards, attempt: attempt
        * (minutes(wildcards) if callable(minutes) else minutes),
        "gpu": of_model(kind, entry_gpus),
        "engine": of_model(kind, lambda entry: 0 if is_api(entry) else 1),
        "network": of_model(kind, lambda entry: 1 if is_api(entry) else 0),
        "store": STORE,
        "accelerator": ACCELERATOR,
        "grace": site("grace") or 20,
        "max_failed": str(MAX_FAILED),
        "concurrency": serving(kind, "concurrency", CONCURRENCY),
        "tensor_parallel": of_model(kind, tensor_parallel),
        "data_parallel": serving(kind, "data_parallel", 1),
        "engine_args": serving(kind, "engine_args", ""),
        "requests_per_minute": serving(kind, "requests_per_minute", 0),
        "tokens_per_minute": serving(kind, "tokens_per_minute", 0),
        "mode": serving(kind, "mode", "live"),
        "price": entry_json(kind, "price"),
        "endpoint": entry_json(kind, "endpoint"),
        "budget_usd": str(BUDGET.get("usd") or 0),
        "budget_gpu_hours": str(BUDGET.get("gpu_hours") or 0),
        **engine_placement(kind),
    }


# What every rule that asks a model appends to its shell line.
ASKING = (
    " --store {resources.store:q} --max-failed {resources.max_failed} --accelerator {resources.accelerator}"
    " --concurrency {resources.concurrency} --tensor-parallel {resources.tensor_parallel}"
    " --data-parallel {resources.data_parallel} --engine-args={resources.engine_args:q}"
    " --endpoint={resources.endpoint:q}"
    " --requests-per-minute {resources.requests_per_minute} --tokens-per-minute {resources.tokens_per_minute}"
    " --grace {resources.grace}"
    " --mode {resources.mode} --price={resources.price:q} --budget-usd {resources.budget_usd}"
    " --budget-gpu-hours {resources.budget_gpu_hours}"
    " > {log:q} 2>&1"
)


def answers_minutes(wildcards):
    """Minutes of one shard: twice what its answers take by the plan, at least two hours."""
    stage = PLAN.stage("answers", wildcards.id)
    seconds = answer_seconds(served("answers", wildcards))
    if seconds is None:
        return 720
    answers = stage.execution["expected"] / stage.execution["shards"]
    return max(120, round(2 * answers * seconds / 60))


def training_gpus(wildcards):
    """GPUs per node of a training."""
    return (
        0
        if ACCELERATOR == "cpu"
        else PLAN.stage("student", wildcards.id).execution["gpus"]
    )


def training_nodes(wildcards):
    """Nodes of a training."""
    return PLAN.stage("student", wildcards.id).execution["nodes"]
