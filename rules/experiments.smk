# The arms of an experiment side by side.
rule compare_arms:
    "Compare the arms of an experiment, with errors."
    input:
        scores=files("experiment", "evaluations", "scores.parquet"),
        grades=files("experiment", "evaluations", "grades.parquet"),
    output:
        table=report(
            "<results>/experiments/{id}/scores.tsv",
            caption="../report/comparison.rst",
            category="Experiments",
            labels={"experiment": "{id}", "what": "scores"},
        ),
        scores="<results>/experiments/{id}/scores.parquet",
        plot=report(
            "<results>/experiments/{id}/plot.svg",
            caption="../report/comparison.rst",
            category="Experiments",
            labels={"experiment": "{id}", "what": "plot"},
        ),
        summary="<results>/experiments/{id}/summary.md",
    log:
        "<logs>/compare_arms/{id}.log",
    benchmark:
        "<usage>/compare_arms/{id}.jsonl"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        experiment=setting("experiment", "experiment"),
        arms=arm_flags,
        compare_to=setting("experiment", "compare_to"),
    shell:
        "{PY} scripts/compare_arms.py --experiment {params.experiment} {params.arms}"
        " --compare-to {params.compare_to} --table {output.table} --output {output.scores} --plot {output.plot}"
        " --summary {output.summary} > {log} 2>&1"
