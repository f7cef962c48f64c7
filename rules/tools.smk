# What a user asks for by name; none of it is part of a recipe.
localrules:
    compact,
    environments,
    from_store,
    gc,
    lock,
    plan,


rule plan:
    "Say what this configuration will cost before anything is booked."
    log:
        "<logs>/plan.log",
    params:
        changes=json.dumps(workflow.config_settings.overwrite_config),
        table=f"{RESULTS}/plan.tsv",
    shell:
        "{PY} scripts/plan.py --config config.yaml --set {params.changes:q} --output {params.table} 2>&1 | tee {log}"


rule environments:
    "Build the environments of the engines that this configuration runs."
    log:
        "<logs>/environments.log",
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


rule lock:
    "Pin every dataset and model of this configuration to the commit or checksum that it has now."
    log:
        "<logs>/lock.log",
    resources:
        network=1,
    params:
        catalog=CATALOG,
        names=lockable,
        lock=f"{CATALOG[0]}/lock.yaml",
    shell:
        "{PY} scripts/lock.py --catalog {params.catalog} {params.names} --output {params.lock} 2>&1 | tee {log}"


rule from_store:
    "Write every shard that is complete in the completion store, before a job is submitted for it."
    log:
        "<logs>/from_store.log",
    params:
        changes=json.dumps(workflow.config_settings.overwrite_config),
    shell:
        "{PY} scripts/from_store.py --config config.yaml --set {params.changes:q} 2>&1 | tee {log}"


rule compact:
    "Rewrite the completion store's many small files as few sorted ones (safe while jobs run)."
    log:
        "<logs>/compact.log",
    shell:
        "{PY} scripts/store.py compact --store {STORE} 2>&1 | tee {log}"


rule gc:
    "List results that nothing in this configuration uses (scripts/collect_garbage.py --remove deletes them)."
    log:
        "<logs>/gc.log",
    params:
        changes=json.dumps(workflow.config_settings.overwrite_config),
    shell:
        "{PY} scripts/collect_garbage.py --config config.yaml --set {params.changes:q} 2> {log}"


rule preflight:
    "Look whether a run can go well (cluster, environments, keys, lock, store, disk); it books nothing."
    log:
        "<logs>/preflight.log",
    retries: 0
    localrule: True
    params:
        changes=json.dumps(workflow.config_settings.overwrite_config),
        cluster=cluster_flag(),
    shell:
        "{PY} scripts/preflight.py --config config.yaml --set {params.changes:q} {params.cluster} 2> {log}"


rule publish_dataset:
    "Put the datasets of the recipes that say `publish: {dataset: OWNER/NAME}` on the hub, private by default."
    log:
        "<logs>/publish_dataset.log",
    retries: 0
    localrule: True
    resources:
        network=1,
    params:
        recipes=lambda wildcards: publications("dataset"),
        licences=json.dumps(config.get("licences")),
    shell:
        "{PY} scripts/publish_dataset.py --recipes {params.recipes:q} --licences {params.licences:q} 2>&1 | tee {log}"


rule publish_model:
    "Put the students of the recipes that say `publish: {model: OWNER/NAME}` on the hub, private by default."
    log:
        "<logs>/publish_model.log",
    retries: 0
    localrule: True
    resources:
        network=1,
    params:
        recipes=lambda wildcards: publications("model"),
        licences=json.dumps(config.get("licences")),
    shell:
        "{PY} scripts/publish_model.py --recipes {params.recipes:q} --licences {params.licences:q} 2>&1 | tee {log}"
