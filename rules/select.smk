# One label per question of each source, and the best questions by label.
rule train_classifier:
    "Train a fastText classifier on good and bad examples."
    input:
        positives=files("classifier", "positives", None),
        negatives=files("classifier", "negatives", None),
    output:
        classifier="<results>/classifiers/{id}/classifier.bin",
        summary="<results>/classifiers/{id}/summary.json",
    log:
        "<logs>/train_classifier/{id}.log",
    benchmark:
        "<usage>/train_classifier/{id}.jsonl"
    resources:
        **growing(memory=8000, minutes=120),
    params:
        positives=paths("positives"),
        negatives=paths("negatives"),
        parameters=setting("classifier", "parameters"),
        most=setting_or("classifier", "most", "all"),
        seed=setting("classifier", "seed"),
    shell:
        "{PY} {SCRIPTS}/train_classifier.py --positives {params.positives} --negatives {params.negatives}"
        " --parameters {params.parameters:q} --most {params.most} --seed {params.seed}"
        " --output {output.classifier:q} --summary {output.summary:q} > {log:q} 2>&1"


rule embed_examples:
    "Find the direction from bad to good examples in the space of a sentence model."
    input:
        positives=files("direction", "positives", None),
        negatives=files("direction", "negatives", None),
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
        **asking("direction", minutes=120),
    params:
        positives=paths("positives"),
        negatives=paths("negatives"),
        most=setting_or("direction", "most", "all"),
        seed=setting("direction", "seed"),
    shell:
        "{PY} {SCRIPTS}/embed_examples.py --positives {params.positives} --negatives {params.negatives}"
        " --model {input.model:q} --most {params.most} --seed {params.seed} --output {output.direction:q}"
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
        **asking("labels", minutes=360),
    params:
        method=setting("labels", "method"),
        prompt=prompt_flag("labels"),
        sampling=setting("labels", "sampling"),
        seed=setting("labels", "seed"),
        attempts=setting("labels", "attempts"),
    shell:
        "{PY} {SCRIPTS}/label_questions.py --questions {input.questions:q} --model {input.model:q}"
        " --method {params.method} {params.prompt} --sampling {params.sampling:q} --seed {params.seed}"
        " --attempts {params.attempts}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.completions:q}"
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
        **growing(memory=4000, minutes=60),
    params:
        score=lambda wildcards, input: (
            f"--classifier {arguments.quoted(input.classifier)}"
            if input.classifier
            else f"--score {PLAN.stage('labels', wildcards.id).settings['method']}"
        ),
    shell:
        "{PY} {SCRIPTS}/score_texts.py --questions {input.questions:q} {params.score}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.labels:q} > {log:q} 2>&1"


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
        **asking("labels", minutes=360),
    shell:
        "{PY} {SCRIPTS}/embed_questions.py --questions {input.questions:q} --direction {input.direction:q}"
        " --model {input.model:q} --shard {wildcards.shard} --shards {wildcards.shards} --output {output.labels:q}"
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
        **growing(memory=8000, minutes=60, steady=True),
    params:
        shards=paths("completions"),
        method=setting("labels", "method"),
        unit=setting_or("labels", "unit", "tokens"),
    shell:
        "{PY} {SCRIPTS}/parse_labels.py --questions {input.questions:q} --completions {params.shards}"
        " --method {params.method} --unit {params.unit} --output {output.labels:q} > {log:q} 2>&1"


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
        **growing(memory=8000, minutes=30),
    params:
        by=setting("selected", "by"),
        keep=setting_or("selected", "keep", "all"),
        policy=arguments_of("selected", arguments.selection_policy),
        seed=setting_or("selected", "seed", 0),
        labels=lambda wildcards, input: (
            f"--labels {arguments.quoted(input.labels)}" if input.labels else ""
        ),
    shell:
        "{PY} {SCRIPTS}/select_questions.py --questions {input.questions:q} {params.labels} --by {params.by}"
        " --keep {params.keep} {params.policy} --seed {params.seed}"
        " --output {output.questions:q} --dropped {output.dropped:q} > {log:q} 2>&1"
