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
    threads: asking_threads("answers")
    resources:
        **asking("answers", minutes=answers_minutes),
    params:
        prompt=prompt_flag("answers"),
        sampling=setting("answers", "sampling"),
        samples=setting("answers", "samples"),
        seed=setting("answers", "seed"),
    shell:
        "{PY} {SCRIPTS}/sample_answers.py --questions {input.questions:q} --model {input.model:q} {params.prompt}"
        " --sampling {params.sampling:q} --samples {params.samples} --seed {params.seed}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.completions:q}"
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
        **growing(memory=16000, minutes=120),
    params:
        shards=paths("completions"),
        samples=setting("answers", "samples"),
    shell:
        "{PY} {SCRIPTS}/merge_answers.py --questions {input.questions:q} --completions {params.shards}"
        " --samples {params.samples} --model {input.model:q} --output {output.completions:q} > {log:q} 2>&1"


rule measure_answers:
    "Compute what all answers to a question say together: majority, agreement, pass rate, lengths."
    input:
        questions=files("measured", "questions"),
        answers=files("measured", "answers", "completions.parquet"),
    output:
        measures="<results>/measured/{id}/measures.parquet",
    log:
        "<logs>/measure_answers/{id}.log",
    benchmark:
        "<usage>/measure_answers/{id}.jsonl"
    threads: 8
    resources:
        **growing(memory=16000, minutes=240),
    params:
        settings=setting("measured"),
    shell:
        "{PY} {SCRIPTS}/measure_answers.py --questions {input.questions:q} --answers {input.answers:q}"
        " --settings {params.settings:q} --output {output.measures:q} > {log:q} 2>&1"


rule score_answers:
    "Score one shard of a domain's answers with a classifier."
    input:
        answers=files("assessed", "answers", "completions.parquet"),
        classifier=files("assessed", "classifier", "classifier.bin"),
    output:
        assessments="<results>/assessed/{id}/scores/{shard}-of-{shards}.parquet",
    log:
        "<logs>/score_answers/{id}/{shard}-of-{shards}.log",
    benchmark:
        "<usage>/score_answers/{id}/{shard}-of-{shards}.jsonl"
    threads: 4
    resources:
        **growing(memory=4000, minutes=60),
    shell:
        "{PY} {SCRIPTS}/score_texts.py --answers {input.answers:q} --classifier {input.classifier:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.assessments:q} > {log:q} 2>&1"


rule verify_answers:
    "Ask a model whether the answers of one shard are right."
    input:
        questions=files("assessed", "questions"),
        answers=files("assessed", "answers", "completions.parquet"),
        model=files("assessed", "model", "model.json"),
    output:
        completions="<results>/assessed/{id}/completions/{shard}-of-{shards}.parquet",
    log:
        "<logs>/verify_answers/{id}/{shard}-of-{shards}.log",
    benchmark:
        "<usage>/verify_answers/{id}/{shard}-of-{shards}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("assessed")
    threads: asking_threads("assessed")
    resources:
        **asking("assessed", minutes=360),
    params:
        prompt=prompt_flag("assessed"),
        sampling=setting("assessed", "sampling"),
        seed=setting("assessed", "seed"),
    shell:
        "{PY} {SCRIPTS}/verify_answers.py --questions {input.questions:q} --answers {input.answers:q} --model {input.model:q}"
        " {params.prompt} --sampling {params.sampling:q} --seed {params.seed}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --output {output.completions:q}"
        + ASKING


rule read_assessments:
    "Put the assessments of all shards of answers together."
    input:
        answers=files("assessed", "answers", "completions.parquet"),
        assessed=shard_files("assessed"),
    output:
        assessments="<results>/assessed/{id}/assessments.parquet",
    log:
        "<logs>/read_assessments/{id}.log",
    benchmark:
        "<usage>/read_assessments/{id}.jsonl"
    resources:
        **growing(memory=8000, minutes=60),
    params:
        shards=paths("assessed"),
        method=setting("assessed", "method"),
    shell:
        "{PY} {SCRIPTS}/read_assessments.py --answers {input.answers:q} --assessed {params.shards}"
        " --method {params.method} --output {output.assessments:q} > {log:q} 2>&1"


rule filter_answers:
    "Choose among the answers."
    input:
        questions=files("filtered", "questions"),
        answers=files("filtered", "answers", "completions.parquet"),
        measured=files("filtered", "measured", "measures.parquet"),
        assessed=files("filtered", "assessed", "assessments.parquet"),
    output:
        completions="<results>/filtered/{id}/completions.parquet",
        dropped="<results>/filtered/{id}/dropped.parquet",
    log:
        "<logs>/filter_answers/{id}.log",
    benchmark:
        "<usage>/filter_answers/{id}.jsonl"
    threads: 8
    resources:
        **growing(memory=16000, minutes=120),
    params:
        by=setting("filtered", "by"),
        options=setting("filtered", "options"),
        evidence=arguments_of("filtered", arguments.filter_evidence),
    shell:
        "{PY} {SCRIPTS}/filter_answers.py --questions {input.questions:q} --answers {input.answers:q} --by {params.by}"
        " {params.evidence} --options {params.options:q} --output {output.completions:q} --dropped {output.dropped:q} > {log:q} 2>&1"
