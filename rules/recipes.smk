# A recipe by its name: what it is made of, and its plots.


rule describe_recipe:
    "Write down what a recipe is made of, and lay dataset, model and scores beside it by name."
    input:
        stages=manifest_inputs,
    output:
        manifest="<results>/recipes/{recipe}/manifest.json",
    log:
        "<logs>/describe_recipe/{recipe}.log",
    benchmark:
        "<usage>/describe_recipe/{recipe}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        stages=described_stages,
        links=links_flag,
        counts=lambda wildcards: PLAN.path(
            PLAN.recipes[wildcards.recipe].dataset, "counts.json"
        ),
    shell:
        "{PY} scripts/describe_recipe.py --recipe {wildcards.recipe} --stages {params.stages:q} {params.links}"
        " --counts {params.counts} --output {output.manifest} > {log} 2>&1"


rule write_report:
    "Write a recipe's page: one HTML file that works offline."
    input:
        manifest="<results>/recipes/{recipe}/manifest.json",
        experiments=experiment_scores,
        sensitivity=lambda wildcards: sensitivity_tables(wildcards.recipe),
    output:
        page="<results>/recipes/{recipe}/report.html",
    log:
        "<logs>/write_report/{recipe}.log",
    benchmark:
        "<usage>/write_report/{recipe}.jsonl"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        # What was estimated changes with how stages are run, which must not cause a rerun.
        planned=planned_rows,
    params:
        experiments=experiment_flags,
        usage=USAGE,
    shell:
        "{PY} scripts/write_report.py --manifest {input.manifest} --usage {params.usage} {params.experiments}"
        " --planned {resources.planned:q} --output {output.page} > {log} 2>&1"


rule plot_funnel:
    "Plot how many questions each stage of a recipe leaves."
    input:
        stages=manifest_inputs,
    output:
        plot=report(
            "<results>/recipes/{recipe}/plots/funnel.svg",
            caption="../report/funnel.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "funnel"},
        ),
        table="<results>/recipes/{recipe}/plots/funnel.tsv",
    log:
        "<logs>/plot_funnel/{recipe}.log",
    benchmark:
        "<usage>/plot_funnel/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        stages=funnel_flags,
    shell:
        "{PY} scripts/plot_funnel.py {params.stages} --output {output.plot} --table {output.table} > {log} 2>&1"


rule plot_difficulty:
    "Plot the labels of a recipe's sources."
    input:
        labels=lambda wildcards: recipe_paths(wildcards.recipe, "labels"),
    output:
        plot=report(
            "<results>/recipes/{recipe}/plots/difficulty.svg",
            caption="../report/difficulty.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "labels"},
        ),
        table="<results>/recipes/{recipe}/plots/difficulty.tsv",
    log:
        "<logs>/plot_difficulty/{recipe}.log",
    benchmark:
        "<usage>/plot_difficulty/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        series=label_series,
    shell:
        "{PY} scripts/plot_histogram.py {params.series} --axis label"
        " --output {output.plot} --table {output.table} > {log} 2>&1"


rule plot_lengths:
    "Plot the lengths of a recipe's answers."
    input:
        answers=lambda wildcards: recipe_paths(wildcards.recipe, "answers"),
    output:
        plot=report(
            "<results>/recipes/{recipe}/plots/lengths.svg",
            caption="../report/lengths.rst",
            category="Answers",
            labels={"recipe": "{recipe}", "plot": "lengths"},
        ),
        table="<results>/recipes/{recipe}/plots/lengths.tsv",
    log:
        "<logs>/plot_lengths/{recipe}.log",
    benchmark:
        "<usage>/plot_lengths/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        series=length_series,
    shell:
        "{PY} scripts/plot_histogram.py {params.series} --axis 'tokens of an answer'"
        " --output {output.plot} --table {output.table} > {log} 2>&1"


rule plot_decontamination:
    "Plot what decontamination dropped, by benchmark and method."
    input:
        dropped=lambda wildcards: recipe_paths(
            wildcards.recipe, "clean", "dropped.parquet"
        ),
    output:
        plot=report(
            "<results>/recipes/{recipe}/plots/decontamination.svg",
            caption="../report/decontamination.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "decontamination"},
        ),
        table=report(
            "<results>/recipes/{recipe}/plots/decontamination.tsv",
            caption="../report/decontamination.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "decontamination (table)"},
        ),
    log:
        "<logs>/plot_decontamination/{recipe}.log",
    benchmark:
        "<usage>/plot_decontamination/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        dropped=dropped_flags,
    shell:
        "{PY} scripts/plot_decontamination.py {params.dropped}"
        " --output {output.plot} --table {output.table} > {log} 2>&1"


rule plot_training:
    "Plot the training loss and learning rate of a recipe's student."
    input:
        metrics=lambda wildcards: recipe_paths(
            wildcards.recipe, "student", "metrics.parquet"
        ),
    output:
        plot=report(
            "<results>/recipes/{recipe}/plots/training.svg",
            caption="../report/training.rst",
            category="Student",
            labels={"recipe": "{recipe}", "plot": "training"},
        ),
        table="<results>/recipes/{recipe}/plots/training.tsv",
    log:
        "<logs>/plot_training/{recipe}.log",
    benchmark:
        "<usage>/plot_training/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        metrics=lambda wildcards: recipe_paths(
            wildcards.recipe, "student", "metrics.parquet"
        ),
    shell:
        "{PY} scripts/plot_training.py --metrics student {params.metrics}"
        " --output {output.plot} --table {output.table} > {log} 2>&1"


rule plot_scores:
    "Plot the scores of a recipe's student and of its base model, with errors."
    input:
        scores=lambda wildcards: recipe_paths(wildcards.recipe, "evaluation"),
    output:
        plot=report(
            "<results>/recipes/{recipe}/plots/scores.svg",
            caption="../report/scores.rst",
            category="Student",
            labels={"recipe": "{recipe}", "plot": "scores"},
        ),
        table=report(
            "<results>/recipes/{recipe}/plots/scores.tsv",
            caption="../report/scores.rst",
            category="Student",
            labels={"recipe": "{recipe}", "plot": "scores (table)"},
        ),
    log:
        "<logs>/plot_scores/{recipe}.log",
    benchmark:
        "<usage>/plot_scores/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        scores=score_flags,
    shell:
        "{PY} scripts/plot_scores.py {params.scores} --output {output.plot} --table {output.table} > {log} 2>&1"


rule plot_resources:
    "Plot the time and memory that each rule took."
    input:
        manifest="<results>/recipes/{recipe}/manifest.json",
    output:
        plot=report(
            "<results>/recipes/{recipe}/plots/resources.svg",
            caption="../report/resources.rst",
            category="Time and memory",
            labels={"recipe": "{recipe}", "plot": "time and memory"},
        ),
        table="<results>/recipes/{recipe}/plots/resources.tsv",
    log:
        "<logs>/plot_resources/{recipe}.log",
    benchmark:
        "<usage>/plot_resources/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        folder=USAGE,
    shell:
        "{PY} scripts/plot_resources.py --folder {params.folder}"
        " --output {output.plot} --table {output.table} > {log} 2>&1"
