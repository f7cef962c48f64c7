# Questions that a model writes from documents or from other questions, step by step, before they are decontaminated.
rule write_questions:
    "Ask a model for the questions in one shard of a source's documents, or to fix or check them."
    input:
        questions=files("written", "questions"),
        model=files("written", "model", "model.json"),
    output:
        completions="<results>/written/{id}/completions/{shard}-of-{shards}.parquet",
    log:
        "<logs>/write_questions/{id}/{shard}-of-{shards}.log",
    benchmark:
        "<usage>/write_questions/{id}/{shard}-of-{shards}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("written")
    threads: asking_threads("written")
    resources:
        **asking("written", minutes=360),
    params:
        questions=paths("questions"),
        step=setting("written", "step"),
        domain=setting("written", "domain"),
        prompt=prompt_flag("written"),
        sampling=setting("written", "sampling"),
        seed=setting("written", "seed"),
    shell:
        "{PY} {SCRIPTS}/write_questions.py --questions {params.questions} --model {input.model:q}"
        " --step {params.step} --domain {params.domain} {params.prompt}"
        " --sampling {params.sampling:q} --seed {params.seed}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.completions:q}"
        + ASKING


rule read_written:
    "Read the written questions out of the answers of all shards of a source."
    input:
        questions=files("written", "questions"),
        completions=shard_files("written"),
    output:
        questions="<results>/written/{id}/questions.parquet",
        dropped="<results>/written/{id}/dropped.parquet",
    log:
        "<logs>/read_written/{id}.log",
    benchmark:
        "<usage>/read_written/{id}.jsonl"
    resources:
        **growing(memory=8000, minutes=60),
    params:
        questions=paths("questions"),
        shards=paths("completions"),
        step=setting("written", "step"),
    shell:
        "{PY} {SCRIPTS}/read_written.py --questions {params.questions} --completions {params.shards}"
        " --step {params.step} --output {output.questions:q} --dropped {output.dropped:q} > {log:q} 2>&1"
