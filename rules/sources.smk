# Question sources and benchmarks, each pinned by the catalog's lock, as tables of questions.
rule fetch_source:
    "Fetch one question source of the catalog."
    output:
        questions="<results>/sources/{id}/questions.parquet",
    log:
        "<logs>/fetch_source/{id}.log",
    benchmark:
        "<usage>/fetch_source/{id}.jsonl"
    localrule: INTERNET_HERE
    resources:
        **internet(),
        **growing(memory=4000, minutes=240, steady=True),
    params:
        name=setting("source", "name"),
        domain=setting("source", "entry", "domain"),
        entry=setting("source", "entry"),
        revision=revision_flag("source"),
    shell:
        "{PY} {SCRIPTS}/fetch_source.py --name {params.name} --domain {params.domain} --entry {params.entry:q}"
        " {params.revision} --output {output.questions:q} > {log:q} 2>&1"


use rule fetch_source as fetch_benchmark with:
    "Fetch the questions of one benchmark of the catalog."
    output:
        questions="<results>/benchmarks/{id}/questions.parquet",
    log:
        "<logs>/fetch_benchmark/{id}.log",
    benchmark:
        "<usage>/fetch_benchmark/{id}.jsonl"
    localrule: INTERNET_HERE  # `with` takes it away
    resources:
        **internet(),
        **growing(memory=4000, minutes=60, steady=True),
    params:
        name=setting("benchmark", "name"),
        domain=setting("benchmark", "entry", "domain"),
        entry=setting("benchmark", "entry"),
        revision=revision_flag("benchmark"),


rule thin_source:
    "Keep a share of a source's questions, before anything is asked about them."
    input:
        questions=files("thinned", "questions"),
    output:
        questions="<results>/thinned/{id}/questions.parquet",
        dropped="<results>/thinned/{id}/dropped.parquet",
    log:
        "<logs>/thin_source/{id}.log",
    benchmark:
        "<usage>/thin_source/{id}.jsonl"
    resources:
        **growing(memory=4000, minutes=60),
    params:
        share=setting("thinned", "share"),
        least=setting("thinned", "least"),
        seed=setting("thinned", "seed"),
    shell:
        "{PY} {SCRIPTS}/thin_source.py --questions {input.questions:q} --share {params.share}"
        " --least {params.least} --seed {params.seed}"
        " --output {output.questions:q} --dropped {output.dropped:q} > {log:q} 2>&1"
