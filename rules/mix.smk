# The selected sources of a domain become its questions: mixed, bounded in length, deduplicated, drawn.
rule mix_sources:
    "Mix the selected questions of a domain's sources."
    input:
        questions=files("mixed", "questions"),
    output:
        questions="<results>/mixed/{id}/questions.parquet",
    log:
        "<logs>/mix_sources/{id}.log",
    benchmark:
        "<usage>/mix_sources/{id}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        seed=setting("mixed", "seed"),
    shell:
        "{PY} scripts/mix_sources.py --questions {input.questions} --seed {params.seed}"
        " --output {output.questions} > {log} 2>&1"


rule limit_length:
    "Drop the questions that are too long for the teacher."
    input:
        questions=files("limited", "questions"),
        model=files("limited", "model", "model.json"),
    output:
        questions="<results>/limited/{id}/questions.parquet",
        dropped="<results>/limited/{id}/dropped.parquet",
    log:
        "<logs>/limit_length/{id}.log",
    benchmark:
        "<usage>/limit_length/{id}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        max_tokens=setting("limited", "max_tokens"),
        tokenizer=lambda wildcards, input: PLAN.stage(
            "limited", wildcards.id
        ).settings["tokenizer"]
        or input.model,
    shell:
        "{PY} scripts/limit_length.py --questions {input.questions} --tokenizer {params.tokenizer:q}"
        " --max-tokens {params.max_tokens} --output {output.questions} --dropped {output.dropped} > {log} 2>&1"


rule deduplicate:
    "Drop the questions that repeat another one."
    input:
        questions=files("deduplicated", "questions"),
    output:
        questions="<results>/deduplicated/{id}/questions.parquet",
        dropped="<results>/deduplicated/{id}/dropped.parquet",
    log:
        "<logs>/deduplicate/{id}.log",
    benchmark:
        "<usage>/deduplicate/{id}.jsonl"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        level=setting("deduplicated", "level"),
        similarity=lambda wildcards: PLAN.stage(
            "deduplicated", wildcards.id
        ).settings.get("similarity", 100),
        rule=lambda wildcards: PLAN.stage("deduplicated", wildcards.id).settings.get(
            "rule", "kept"
        ),
    shell:
        "{PY} scripts/deduplicate.py --questions {input.questions} --level {params.level}"
        " --similarity {params.similarity} --rule {params.rule} --threads {threads}"
        " --output {output.questions} --dropped {output.dropped} > {log} 2>&1"


rule draw_questions:
    "Draw the questions that are answered; growing the number keeps those already drawn."
    input:
        questions=files("drawn", "questions"),
    output:
        questions="<results>/drawn/{id}/questions.parquet",
        dropped="<results>/drawn/{id}/dropped.parquet",
    log:
        "<logs>/draw_questions/{id}.log",
    benchmark:
        "<usage>/draw_questions/{id}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        draw=all_if_none("drawn", "count"),
        seed=setting("drawn", "seed"),
        fill=lambda wildcards: (
            "--fill" if PLAN.stage("drawn", wildcards.id).settings.get("fill") else ""
        ),
    shell:
        "{PY} scripts/draw_questions.py --questions {input.questions} --count {params.draw} --seed {params.seed}"
        " {params.fill}"
        " --output {output.questions} --dropped {output.dropped} > {log} 2>&1"
