# Sources without the questions of the benchmarks.
rule decontaminate:
    "Drop the questions of a source that are similar to, or share an n-gram with, a benchmark question."
    input:
        questions=files("clean", "questions"),
        benchmarks=files("clean", "benchmarks"),
    output:
        questions="<results>/clean/{id}/questions.parquet",
        dropped="<results>/clean/{id}/dropped.parquet",
    log:
        "<logs>/decontaminate/{id}.log",
    benchmark:
        "<usage>/decontaminate/{id}.jsonl"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        similarity=setting("clean", "similarity"),
        ngram=setting("clean", "ngram"),
        tokenizer=setting("clean", "tokenizer"),
        min_chars=setting("clean", "min_chars"),
    shell:
        "{PY} scripts/decontaminate.py --questions {input.questions} --benchmarks {input.benchmarks}"
        " --similarity {params.similarity} --ngram {params.ngram} --tokenizer {params.tokenizer:q}"
        " --min-chars {params.min_chars} --threads {threads}"
        " --output {output.questions} --dropped {output.dropped} > {log} 2>&1"


rule measure_sensitivity:
    "Tell what other similarity thresholds would drop (where `decontaminate.sensitivity` asks for it)."
    input:
        questions=files("clean", "questions"),
        benchmarks=files("clean", "benchmarks"),
    output:
        table="<results>/clean/{id}/sensitivity.parquet",
    log:
        "<logs>/measure_sensitivity/{id}.log",
    benchmark:
        "<usage>/measure_sensitivity/{id}.jsonl"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        similarity=setting("clean", "similarity"),
        ngram=setting("clean", "ngram"),
        tokenizer=setting("clean", "tokenizer"),
        min_chars=setting("clean", "min_chars"),
    shell:
        "{PY} scripts/measure_sensitivity.py --questions {input.questions} --benchmarks {input.benchmarks}"
        " --similarity {params.similarity} --ngram {params.ngram} --tokenizer {params.tokenizer:q}"
        " --min-chars {params.min_chars} --threads {threads} --output {output.table} > {log} 2>&1"
