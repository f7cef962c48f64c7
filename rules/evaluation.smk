# What a model scores.
rule sample_evaluation:
    "Ask a model all its benchmarks, in one job with one engine."
    input:
        model=files("evaluation", "model", "model.json"),
        benchmarks=files("evaluation", "benchmarks"),
    output:
        completions="<results>/evaluations/{id}/completions.parquet",
    log:
        "<logs>/sample_evaluation/{id}.log",
    benchmark:
        "<usage>/sample_evaluation/{id}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("evaluation")
    threads: asking_threads("evaluation")
    resources:
        **asking("evaluation", minutes=720),
    params:
        benchmarks=arguments_of("evaluation", arguments.sampled_benchmarks),
        sampling=setting("evaluation", "sampling"),
        seed=setting("evaluation", "seed"),
    shell:
        "{PY} {SCRIPTS}/sample_evaluation.py {params.benchmarks} --model {input.model:q}"
        " --sampling {params.sampling:q} --seed {params.seed} --output {output.completions:q}"
        + ASKING


rule judge_answers:
    "Ask a judge about a model's answers to a benchmark."
    input:
        model=files("judged", "model", "model.json"),
        questions=files("judged", "questions"),
        completions=files("judged", "evaluation", "completions.parquet"),
    output:
        completions="<results>/judged/{id}/completions.parquet",
    log:
        "<logs>/judge_answers/{id}.log",
    benchmark:
        "<usage>/judge_answers/{id}.jsonl"
    localrule: INTERNET_HERE and asks_only_apis("judged")
    threads: asking_threads("judged")
    resources:
        **asking("judged", minutes=240),
    params:
        benchmark=setting("judged", "benchmark"),
        prompt=prompt_flag("judged"),
        sampling=setting("judged", "sampling"),
        seed=setting("judged", "seed"),
    shell:
        "{PY} {SCRIPTS}/judge_answers.py --benchmark {params.benchmark} --questions {input.questions:q}"
        " --completions {input.completions:q} {params.prompt} --model {input.model:q}"
        " --sampling {params.sampling:q} --seed {params.seed} --output {output.completions:q}"
        + ASKING


rule grade_answers:
    "Grade a model's answers to its benchmarks."
    input:
        judgements=judgement_files,
        completions="<results>/evaluations/{id}/completions.parquet",
        benchmarks=files("evaluation", "benchmarks"),
    output:
        grades="<results>/evaluations/{id}/grades.parquet",
        scores="<results>/evaluations/{id}/scores.parquet",
    log:
        "<logs>/grade_answers/{id}.log",
    benchmark:
        "<usage>/grade_answers/{id}.jsonl"
    threads: 8
    resources:
        **growing(memory=8000, minutes=120),
    params:
        judgements=paths("judgements"),
        benchmarks=arguments_of("evaluation", arguments.graded_benchmarks),
    shell:
        "{PY} {SCRIPTS}/grade_answers.py --completions {input.completions:q} {params.benchmarks}"
        " --judgements {params.judgements}"
        " --output {output.grades:q} --scores {output.scores:q} > {log:q} 2>&1"
