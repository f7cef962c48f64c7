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
    threads: engine_threads("evaluation")
    resources:
        **asking("evaluation"),
        mem_mb=lambda wildcards, attempt: asking_memory("evaluation", wildcards)
        * min(attempt, 2),
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        benchmarks=sampling_tasks,
        sampling=setting("evaluation", "sampling"),
        seed=setting("evaluation", "seed"),
    shell:
        "{PY} scripts/sample_evaluation.py {params.benchmarks} --model {input.model}"
        " --sampling {params.sampling:q} --seed {params.seed} --output {output.completions}"
        + ASKING


rule grade_answers:
    "Grade a model's answers to its benchmarks."
    input:
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
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        benchmarks=grading_tasks,
    shell:
        "{PY} scripts/grade_answers.py --completions {input.completions} {params.benchmarks}"
        " --output {output.grades} --scores {output.scores} > {log} 2>&1"
