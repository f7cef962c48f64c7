# What a user asks for by name; none of it is part of a recipe.


rule plan:
    "Say what this configuration will cost before anything is booked."
    log:
        "<logs>/plan.log",
    localrule: True
    params:
        plan=plan_file,
        table=f"{RESULTS}/plan.tsv",
    shell:
        "{PY} {SCRIPTS}/plan.py --plan {params.plan:q} --output {params.table:q} 2>&1 | tee {log:q}"


rule environments:
    "Build the environments of the engines that this configuration runs."
    log:
        "<logs>/environments.log",
    localrule: True
    resources:
        network=1,
    params:
        names=(
            "vllm llamafactory"
            if ACCELERATOR == "cuda"
            else "vllm-cpu llamafactory-cpu"
        ),
    shell:
        "{PY} {SCRIPTS}/environments.py {params.names} > {log:q} 2>&1"


rule lock:
    "Pin every dataset and model of this configuration to the commit or checksum that it has now."
    log:
        "<logs>/lock.log",
    localrule: True
    resources:
        network=1,
    params:
        catalog=CATALOG,
        names=lambda wildcards: argument(arguments.pinned_names(PLAN)),
        lock=f"{CATALOG[0]}/lock.yaml",
    shell:
        "{PY} {SCRIPTS}/lock.py --catalog {params.catalog:q} {params.names} --output {params.lock:q} 2>&1 | tee {log:q}"


rule from_store:
    "Write every shard that is complete in the completion store, before a job is submitted for it."
    log:
        "<logs>/from_store.log",
    localrule: True
    params:
        plan=plan_file,
    shell:
        "{PY} {SCRIPTS}/from_store.py --plan {params.plan:q} 2>&1 | tee {log:q}"


rule compact:
    "Rewrite the completion store's many small files as few sorted ones (safe while jobs run)."
    log:
        "<logs>/compact.log",
    localrule: True
    params:
        store=STORE,
    shell:
        "{PY} {SCRIPTS}/store.py compact --store {params.store:q} 2>&1 | tee {log:q}"


rule gc:
    "List results that nothing in this configuration uses (scripts/collect_garbage.py --remove deletes them)."
    log:
        "<logs>/gc.log",
    localrule: True
    params:
        plan=plan_file,
    shell:
        "{PY} {SCRIPTS}/collect_garbage.py --plan {params.plan:q} 2> {log:q}"


rule preflight:
    "Check that a run can succeed (cluster, environments, keys, hosted models, hub, store, disk); it books nothing."
    log:
        "<logs>/preflight.log",
    retries: 0
    localrule: True
    params:
        plan=plan_file,
        cluster=cluster_flag(),
        allocations=allocations_flag,
        offline="",
    shell:
        "{PY} {SCRIPTS}/preflight.py --plan {params.plan:q} {params.cluster} {params.allocations}"
        " {params.offline} 2> {log:q}"


use rule preflight as preflight_offline with:
    "Check the same without asking hosted models or the hub."
    log:
        "<logs>/preflight_offline.log",
    localrule: True  # `with` takes it away
    params:
        plan=plan_file,
        cluster=cluster_flag(),
        allocations=allocations_flag,
        offline="--offline",


rule publish_dataset:
    "Put the datasets of the recipes that say `publish: {dataset: OWNER/NAME}` on the hub, private by default."
    log:
        "<logs>/publish_dataset.log",
    retries: 0
    localrule: True
    resources:
        network=1,
    params:
        what="dataset",
        plan=plan_file,
    shell:
        "{PY} {SCRIPTS}/publish_{params.what}.py --plan {params.plan:q} 2>&1 | tee {log:q}"


use rule publish_dataset as publish_model with:
    "Put the students of the recipes that say `publish: {model: OWNER/NAME}` on the hub, private by default."
    log:
        "<logs>/publish_model.log",
    localrule: True  # `with` takes it away
    params:
        what="model",
        plan=plan_file,
