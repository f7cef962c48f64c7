# What a user asks for by name; none of it is part of a recipe.
localrules:
    environments,
    gc,


def configured_hashes(wildcards):
    """The hash of every stage of every configured recipe and experiment, asked for or not."""
    everything = {
        **config,
        "targets": [*config["recipes"], *config.get("experiments", {})],
    }
    index = make_plan(
        everything, read_catalog(config.get("catalog", ["catalog"]))
    ).index
    return sorted({id.rpartition("-")[2] for _, id in index})


rule environments:
    "Build the environments of the engines that this configuration runs."
    log:
        LOGS + "/environments.log",
    resources:
        network=1,
    params:
        names=(
            "vllm llamafactory"
            if ACCELERATOR == "cuda"
            else "vllm-cpu llamafactory-cpu"
        ),
    shell:
        "{PY} scripts/environments.py {params.names} > {log} 2>&1"


rule gc:
    "List results that no configured recipe uses (remove them with scripts/collect_garbage.py --remove)."
    log:
        LOGS + "/gc.log",
    params:
        results=RESULTS,
        used=configured_hashes,
    shell:
        "{PY} scripts/collect_garbage.py --results {params.results} --used {params.used} 2> {log}"
