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
        **growing(memory=8000, minutes=60),
    params:
        benchmarks=paths("benchmarks"),
        similarity=setting("clean", "similarity"),
        ngram=setting("clean", "ngram"),
        tokenizer=setting("clean", "tokenizer"),
        min_chars=setting("clean", "min_chars"),
    shell:
        "{PY} {SCRIPTS}/decontaminate.py --questions {input.questions:q} --benchmarks {params.benchmarks}"
        " --similarity {params.similarity} --ngram {params.ngram} --tokenizer {params.tokenizer:q}"
        " --min-chars {params.min_chars} --threads {threads}"
        " --output {output.questions:q} --dropped {output.dropped:q} > {log:q} 2>&1"


rule measure_sensitivity:
    "Report what other similarity thresholds would drop (where `decontaminate.sensitivity` asks for it)."
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
        **growing(memory=8000, minutes=60),
    params:
        benchmarks=paths("benchmarks"),
        similarity=setting("clean", "similarity"),
        ngram=setting("clean", "ngram"),
        tokenizer=setting("clean", "tokenizer"),
        min_chars=setting("clean", "min_chars"),
    shell:
        "{PY} {SCRIPTS}/measure_sensitivity.py --questions {input.questions:q} --benchmarks {params.benchmarks}"
        " --similarity {params.similarity} --ngram {params.ngram} --tokenizer {params.tokenizer:q}"
        " --min-chars {params.min_chars} --threads {threads} --output {output.table:q} > {log:q} 2>&1"
