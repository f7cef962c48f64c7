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
        **asking("evaluation"),
        mem_mb=asking_memory("evaluation"),
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        benchmarks=sampling_tasks,
        sampling=setting("evaluation", "sampling"),
        seed=setting("evaluation", "seed"),
    shell:
        "{PY} scripts/sample_evaluation.py {params.benchmarks} --model {input.model}"
        " --sampling {params.sampling:q} --seed {params.seed} --output {output.completions}"
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
        **asking("judged"),
        mem_mb=asking_memory("judged"),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        benchmark=setting("judged", "benchmark"),
        prompt=prompt_flag("judged"),
        sampling=setting("judged", "sampling"),
        seed=setting("judged", "seed"),
    shell:
        "{PY} scripts/judge_answers.py --benchmark {params.benchmark} --questions {input.questions}"
        " --completions {input.completions} {params.prompt} --model {input.model}"
        " --sampling {params.sampling:q} --seed {params.seed} --output {output.completions}"
        + ASKING


rule grade_answers:
    "Grade a model's answers to its benchmarks."
    input:
        judgements=judgement_paths,
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
        " --judgements {input.judgements}"
        " --output {output.grades} --scores {output.scores} > {log} 2>&1"
