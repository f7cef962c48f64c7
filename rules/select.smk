# One label a question of each source, and the best questions by label.
rule label_questions:
    "Ask a model about one shard of a source's questions: how hard they are, or simply for an answer."
    input:
        questions=files("labels", "questions"),
        model=files("labels", "model", "model.json"),
    output:
        completions="<results>/labels/{id}/completions/{shard}-of-{shards}.parquet",
    log:
        "<logs>/label_questions/{id}/{shard}-of-{shards}.log",
    benchmark:
        "<usage>/label_questions/{id}/{shard}-of-{shards}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("labels")
    resources:
        **asking("labels"),
        mem_mb=8000,
        runtime=lambda wildcards, attempt: 360 * attempt,
    params:
        method=setting("labels", "method"),
        prompt=prompt_flag("labels"),
        sampling=setting("labels", "sampling"),
        seed=setting("labels", "seed"),
    shell:
        "{PY} scripts/label_questions.py --questions {input.questions} --model {input.model}"
        " --method {params.method} {params.prompt} --sampling {params.sampling:q} --seed {params.seed}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.completions}"
        + ASKING


rule parse_labels:
    "Read the labels out of the answers of all shards of a source."
    input:
        questions=files("labels", "questions"),
        completions=shard_files("labels"),
    output:
        labels="<results>/labels/{id}/labels.parquet",
    log:
        "<logs>/parse_labels/{id}.log",
    benchmark:
        "<usage>/parse_labels/{id}.jsonl"
    resources:
        mem_mb=8000,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        method=setting("labels", "method"),
    shell:
        "{PY} scripts/parse_labels.py --questions {input.questions} --completions {input.completions}"
        " --method {params.method} --output {output.labels} > {log} 2>&1"


rule select_questions:
    "Keep the best questions of a source."
    input:
        questions=files("selected", "questions"),
        labels=files("selected", "labels", "labels.parquet"),
    output:
        questions="<results>/selected/{id}/questions.parquet",
        dropped="<results>/selected/{id}/dropped.parquet",
    log:
        "<logs>/select_questions/{id}.log",
    benchmark:
        "<usage>/select_questions/{id}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        by=setting("selected", "by"),
        keep=all_if_none("selected", "keep"),
        seed=lambda wildcards: PLAN.stage("selected", wildcards.id).settings.get(
            "seed", 0
        ),
        labels=lambda wildcards, input: (
            f"--labels {input.labels}" if input.labels else ""
        ),
    shell:
        "{PY} scripts/select_questions.py --questions {input.questions} {params.labels} --by {params.by}"
        " --keep {params.keep} --seed {params.seed}"
        " --output {output.questions} --dropped {output.dropped} > {log} 2>&1"
