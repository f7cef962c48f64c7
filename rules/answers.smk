# The teacher's answers, shard by shard, and the choice among them.
rule sample_answers:
    "Ask the teacher for the answers of one shard of a domain's questions."
    input:
        questions=files("answers", "questions"),
        model=files("answers", "model", "model.json"),
    output:
        completions="<results>/answers/{id}/shards/{shard}-of-{shards}.parquet",
    log:
        "<logs>/sample_answers/{id}/{shard}-of-{shards}.log",
    benchmark:
        "<usage>/sample_answers/{id}/{shard}-of-{shards}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("answers")
    threads: engine_threads("answers")
    resources:
        **asking("answers"),
        mem_mb=lambda wildcards, attempt: asking_memory("answers", wildcards)
        * min(attempt, 2),
        runtime=lambda wildcards, attempt: answers_runtime(wildcards) * attempt,
    params:
        prompt=prompt_flag("answers"),
        sampling=setting("answers", "sampling"),
        samples=setting("answers", "samples"),
        seed=setting("answers", "seed"),
    shell:
        "{PY} scripts/sample_answers.py --questions {input.questions} --model {input.model} {params.prompt}"
        " --sampling {params.sampling:q} --samples {params.samples} --seed {params.seed}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.completions}"
        + ASKING


rule merge_answers:
    "Put the shards of a domain's answers together; every expected answer is there exactly once."
    input:
        questions=files("answers", "questions"),
        model=files("answers", "model", "model.json"),
        completions=shard_files("answers"),
    output:
        completions="<results>/answers/{id}/completions.parquet",
    log:
        "<logs>/merge_answers/{id}.log",
    benchmark:
        "<usage>/merge_answers/{id}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        samples=setting("answers", "samples"),
    shell:
        "{PY} scripts/merge_answers.py --questions {input.questions} --completions {input.completions}"
        " --samples {params.samples} --model {input.model} --output {output.completions} > {log} 2>&1"


rule filter_answers:
    "Choose among the answers."
    input:
        questions=files("filtered", "questions"),
        answers=files("filtered", "answers", "completions.parquet"),
    output:
        completions="<results>/filtered/{id}/completions.parquet",
        dropped="<results>/filtered/{id}/dropped.parquet",
    log:
        "<logs>/filter_answers/{id}.log",
    benchmark:
        "<usage>/filter_answers/{id}.jsonl"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        by=setting("filtered", "by"),
        options=setting("filtered", "options"),
    shell:
        "{PY} scripts/filter_answers.py --questions {input.questions} --answers {input.answers} --by {params.by}"
        " --options {params.options:q} --output {output.completions} --dropped {output.dropped} > {log} 2>&1"
