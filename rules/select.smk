# One label a question of each source, and the best questions by label.
rule train_classifier:
    "Train a fastText classifier on good and bad examples."
    input:
        positives=example_files("classifier", "positives"),
        negatives=example_files("classifier", "negatives"),
    output:
        classifier="<results>/classifiers/{id}/classifier.bin",
        summary="<results>/classifiers/{id}/summary.json",
    log:
        "<logs>/train_classifier/{id}.log",
    benchmark:
        "<usage>/train_classifier/{id}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        parameters=setting("classifier", "parameters"),
        most=all_if_none("classifier", "most"),
        seed=setting("classifier", "seed"),
    shell:
        "{PY} scripts/train_classifier.py --positives {input.positives} --negatives {input.negatives}"
        " --parameters {params.parameters:q} --most {params.most} --seed {params.seed}"
        " --output {output.classifier} --summary {output.summary} > {log} 2>&1"


rule embed_examples:
    "Find the direction from bad to good examples in the space of a sentence model."
    input:
        positives=example_files("direction", "positives"),
        negatives=example_files("direction", "negatives"),
        model=files("direction", "model", "model.json"),
    output:
        direction="<results>/directions/{id}/direction.json",
    log:
        "<logs>/embed_examples/{id}.log",
    benchmark:
        "<usage>/embed_examples/{id}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("direction")
    threads: asking_threads("direction")
    resources:
        **asking("direction"),
        mem_mb=asking_memory("direction"),
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        most=all_if_none("direction", "most"),
        seed=setting("direction", "seed"),
    shell:
        "{PY} scripts/embed_examples.py --positives {input.positives} --negatives {input.negatives}"
        " --model {input.model} --most {params.most} --seed {params.seed} --output {output.direction}"
        + ASKING


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
    threads: asking_threads("labels")
    resources:
        **asking("labels"),
        mem_mb=asking_memory("labels"),
        runtime=lambda wildcards, attempt: 360 * attempt,
    params:
        method=setting("labels", "method"),
        prompt=prompt_flag("labels"),
        sampling=setting("labels", "sampling"),
        seed=setting("labels", "seed"),
        attempts=setting("labels", "attempts"),
    shell:
        "{PY} scripts/label_questions.py --questions {input.questions} --model {input.model}"
        " --method {params.method} {params.prompt} --sampling {params.sampling:q} --seed {params.seed}"
        " --attempts {params.attempts}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.completions}"
        + ASKING


rule score_questions:
    "Score one shard of a source's questions with a classifier, or by what is computed from them."
    input:
        questions=files("labels", "questions"),
        classifier=files("labels", "classifier", "classifier.bin"),
    output:
        labels="<results>/labels/{id}/scores/{shard}-of-{shards}.parquet",
    log:
        "<logs>/score_questions/{id}/{shard}-of-{shards}.log",
    benchmark:
        "<usage>/score_questions/{id}/{shard}-of-{shards}.jsonl"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        score=lambda wildcards, input: (
            f"--classifier {input.classifier}"
            if input.classifier
            else f"--score {PLAN.stage('labels', wildcards.id).settings['method']}"
        ),
    shell:
        "{PY} scripts/score_texts.py --questions {input.questions} {params.score}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.labels} > {log} 2>&1"


rule embed_questions:
    "Score one shard of a source's questions by their embeddings: along the direction from bad to good examples."
    input:
        questions=files("labels", "questions"),
        direction=files("labels", "direction", "direction.json"),
        model=files("labels", "model", "model.json"),
    output:
        labels="<results>/labels/{id}/similarities/{shard}-of-{shards}.parquet",
    log:
        "<logs>/embed_questions/{id}/{shard}-of-{shards}.log",
    benchmark:
        "<usage>/embed_questions/{id}/{shard}-of-{shards}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("labels")
    threads: asking_threads("labels")
    resources:
        **asking("labels"),
        mem_mb=asking_memory("labels"),
        runtime=lambda wildcards, attempt: 360 * attempt,
    shell:
        "{PY} scripts/embed_questions.py --questions {input.questions} --direction {input.direction}"
        " --model {input.model} --shard {wildcards.shard} --shards {wildcards.shards} --output {output.labels}"
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
        unit=lambda wildcards: PLAN.stage("labels", wildcards.id).settings.get(
            "unit", "tokens"
        ),
    shell:
        "{PY} scripts/parse_labels.py --questions {input.questions} --completions {input.completions}"
        " --method {params.method} --unit {params.unit} --output {output.labels} > {log} 2>&1"


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
        policy=selection_policy,
        seed=lambda wildcards: PLAN.stage("selected", wildcards.id).settings.get(
            "seed", 0
        ),
        labels=lambda wildcards, input: (
            f"--labels {input.labels}" if input.labels else ""
        ),
    shell:
        "{PY} scripts/select_questions.py --questions {input.questions} {params.labels} --by {params.by}"
        " --keep {params.keep} {params.policy} --seed {params.seed}"
        " --output {output.questions} --dropped {output.dropped} > {log} 2>&1"
