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
        **growing(memory=4000, minutes=30),
    params:
        questions=paths("questions"),
        seed=setting("mixed", "seed"),
    shell:
        "{PY} {SCRIPTS}/mix_sources.py --questions {params.questions} --seed {params.seed}"
        " --output {output.questions:q} > {log:q} 2>&1"


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
        **growing(memory=4000, minutes=30),
    params:
        max_tokens=setting("limited", "max_tokens"),
        tokenizer=lambda wildcards, input: PLAN.stage(
            "limited", wildcards.id
        ).settings["tokenizer"]
        or input.model,
    shell:
        "{PY} {SCRIPTS}/limit_length.py --questions {input.questions:q} --tokenizer {params.tokenizer:q}"
        " --max-tokens {params.max_tokens} --output {output.questions:q} --dropped {output.dropped:q} > {log:q} 2>&1"


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
        **growing(memory=8000, minutes=60),
    params:
        level=setting("deduplicated", "level"),
        similarity=setting_or("deduplicated", "similarity", 100),
        rule=setting_or("deduplicated", "rule", "kept"),
    shell:
        "{PY} {SCRIPTS}/deduplicate.py --questions {input.questions:q} --level {params.level}"
        " --similarity {params.similarity} --rule {params.rule} --threads {threads}"
        " --output {output.questions:q} --dropped {output.dropped:q} > {log:q} 2>&1"


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
        **growing(memory=4000, minutes=30),
    params:
        draw=setting_or("drawn", "count", "all"),
        seed=setting("drawn", "seed"),
        fill=lambda wildcards: (
            "--fill" if PLAN.stage("drawn", wildcards.id).settings.get("fill") else ""
        ),
        short=described("drawn", arguments.draw_policy),
    shell:
        "{PY} {SCRIPTS}/draw_questions.py --questions {input.questions:q} --count {params.draw} --seed {params.seed}"
        " {params.fill} {params.short}"
        " --output {output.questions:q} --dropped {output.dropped:q} > {log:q} 2>&1"
