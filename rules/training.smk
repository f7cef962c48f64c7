# The dataset in tokens, and the student.
rule tokenize_dataset:
    "Tokenize and pack the dataset before any GPU is booked; prints how much of it is cut."
    input:
        dataset=files("tokenized", "dataset", "dataset.parquet"),
        info=files("tokenized", "dataset", "dataset_info.json"),
        model=files("tokenized", "model", "model.json"),
    output:
        tokenized=temp(directory("<results>/tokenized/{id}/rows")),
        statistics="<results>/tokenized/{id}/statistics.json",
    log:
        "<logs>/tokenize_dataset/{id}.log",
    benchmark:
        "<usage>/tokenize_dataset/{id}.jsonl"
    threads: 16
    resources:
        mem_mb=lambda wildcards, threads, attempt: (1000 + 3000 * threads) * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
        accelerator=ACCELERATOR,
    params:
        template=setting("tokenized", "template"),
        cutoff=setting("tokenized", "cutoff"),
        settings=setting("tokenized", "settings"),
    shell:
        "{PY} {SCRIPTS}/tokenize_dataset.py --dataset {input.dataset:q} --info {input.info:q} --model {input.model:q}"
        " --template {params.template} --cutoff {params.cutoff} --settings {params.settings:q}"
        " --accelerator {resources.accelerator} --processes {threads}"
        " --output {output.tokenized:q} --statistics {output.statistics:q} > {log:q} 2>&1"


rule train_student:
    "Train the student by supervised fine-tuning of all weights (LLaMA-Factory, DeepSpeed ZeRO-3)."
    input:
        tokenized=files("student", "tokenized", "rows"),
        statistics=files("student", "tokenized", "statistics.json"),
        model=files("student", "model", "model.json"),
    output:
        model="<results>/students/{id}/model.json",
        metrics="<results>/students/{id}/metrics.parquet",
    log:
        "<logs>/train_student/{id}.log",
    benchmark:
        "<usage>/train_student/{id}.jsonl"
    threads: 16
    resources:
        **training_placement(),
        mem_mb=lambda wildcards, attempt: 200000 if ACCELERATOR == "cuda" else 8000,
        runtime=lambda wildcards, attempt: 2880,
        gpus_per_node=training_gpus,
        nodes=training_nodes,
        accelerator=ACCELERATOR,
        engine=1,
        save_steps=lambda wildcards: PLAN.stage("student", wildcards.id).execution[
            "save_steps"
        ],
    params:
        settings=setting("student", "settings"),
        seed=setting("student", "seed"),
    shell:
        "{resources.launcher} {PY} {SCRIPTS}/train_student.py --tokenized {input.tokenized:q} --statistics {input.statistics:q}"
        " --model {input.model:q} --name {wildcards.id} --settings {params.settings:q} --seed {params.seed}"
        " --save-steps {resources.save_steps} --accelerator {resources.accelerator} --nodes {resources.nodes} --gpus {resources.gpus_per_node}"
        " --output {output.model:q} --metrics {output.metrics:q} > {log:q} 2>&1"
