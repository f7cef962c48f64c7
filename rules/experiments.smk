# The arms of an experiment side by side.
rule list_arms:
    "Write down the arms of an experiment: their scores and grades, and how they are compared."
    output:
        arms="<results>/experiments/{id}/arms.json",
    log:
        "<logs>/list_arms/{id}.log",
    benchmark:
        "<usage>/list_arms/{id}.jsonl"
    localrule: True
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        plan=plan_file,
        experiment=setting("experiment", "experiment"),
    shell:
        "{PY} {SCRIPTS}/list_arms.py --plan {params.plan:q} --experiment {params.experiment}"
        " --output {output.arms:q} > {log:q} 2>&1"


rule compare_arms:
    "Compare the arms of an experiment, with errors."
    input:
        arms="<results>/experiments/{id}/arms.json",
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
        **growing(memory=4000, minutes=60, steady=True),
    shell:
        "{PY} {SCRIPTS}/compare_arms.py --arms {input.arms:q} --table {output.table:q} --output {output.scores:q}"
        " --plot {output.plot:q} --summary {output.summary:q} > {log:q} 2>&1"


rule describe_experiment:
    "Lay an experiment's comparison in a folder of its name."
    input:
        lambda wildcards: comparison_files(wildcards.experiment),
    output:
        manifest="<results>/experiments/{experiment}/manifest.json",
    log:
        "<logs>/describe_experiment/{experiment}.log",
    benchmark:
        "<usage>/describe_experiment/{experiment}.jsonl"
    localrule: True
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folder=lambda wildcards: f"{RESULTS}/{PLAN.experiments[wildcards.experiment].stage.folder}",
    shell:
        "{PY} {SCRIPTS}/describe_experiment.py --experiment {wildcards.experiment} --folder {params.folder:q}"
        " --output {output.manifest:q} > {log:q} 2>&1"
