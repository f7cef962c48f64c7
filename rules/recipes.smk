# A recipe by its name: what it is made of, its page and its plots. All of them read the plan.


rule describe_recipe:
    "Write down what a recipe is made of, and lay dataset, model and scores beside it by name."
    input:
        stages=described_files,
    output:
        manifest="<results>/recipes/{recipe}/manifest.json",
    log:
        "<logs>/describe_recipe/{recipe}.log",
    benchmark:
        "<usage>/describe_recipe/{recipe}.jsonl"
    resources:
        **growing(memory=4000, minutes=60),
    params:
        plan=plan_file,
        description=description,
    shell:
        "{PY} {SCRIPTS}/describe_recipe.py --plan {params.plan:q} --recipe {wildcards.recipe}"
        " --output {output.manifest:q} > {log:q} 2>&1"


rule write_report:
    "Write a recipe's page: one HTML file that works offline."
    input:
        manifest="<results>/recipes/{recipe}/manifest.json",
        experiments=comparisons,
        sensitivity=lambda wildcards: sensitivity_tables(wildcards.recipe),
    output:
        page="<results>/recipes/{recipe}/report.html",
    log:
        "<logs>/write_report/{recipe}.log",
    benchmark:
        "<usage>/write_report/{recipe}.jsonl"
    resources:
        **growing(memory=8000, minutes=60),
    params:
        plan=plan_file,
        experiments=lambda wildcards: comparisons(wildcards),
    shell:
        "{PY} {SCRIPTS}/write_report.py --plan {params.plan:q} --recipe {wildcards.recipe}"
        " --manifest {input.manifest:q} --output {output.page:q} > {log:q} 2>&1"


rule plot_funnel:
    "Plot how many questions each stage of a recipe leaves."
    input:
        tables=described_files,
    output:
        plot=plot("funnel", "Questions"),
        table="<results>/recipes/{recipe}/plots/funnel.tsv",
    log:
        "<logs>/plot_funnel/{recipe}.log",
    benchmark:
        "<usage>/plot_funnel/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        plot="funnel",
        plan=plan_file,
        tables=lambda wildcards: described_files(wildcards),
    shell:
        "{PY} {SCRIPTS}/plot_recipe.py --plan {params.plan:q} --recipe {wildcards.recipe} --plot {params.plot}"
        " --output {output.plot:q} --table {output.table:q} > {log:q} 2>&1"


use rule plot_funnel as plot_difficulty with:
    "Plot the labels of a recipe's sources."
    input:
        tables=recipe_files("labels"),
    output:
        plot=plot("difficulty", "Questions", "labels"),
        table="<results>/recipes/{recipe}/plots/difficulty.tsv",
    log:
        "<logs>/plot_difficulty/{recipe}.log",
    benchmark:
        "<usage>/plot_difficulty/{recipe}.jsonl"
    params:
        plot="difficulty",
        plan=plan_file,
        tables=recipe_files("labels"),


use rule plot_funnel as plot_lengths with:
    "Plot the lengths of a recipe's answers."
    input:
        tables=recipe_files("answers"),
    output:
        plot=plot("lengths", "Answers"),
        table="<results>/recipes/{recipe}/plots/lengths.tsv",
    log:
        "<logs>/plot_lengths/{recipe}.log",
    benchmark:
        "<usage>/plot_lengths/{recipe}.jsonl"
    params:
        plot="lengths",
        plan=plan_file,
        tables=recipe_files("answers"),


use rule plot_funnel as plot_decontamination with:
    "Plot what decontamination dropped, by benchmark and method."
    input:
        tables=recipe_files("clean", "dropped.parquet"),
    output:
        plot=plot("decontamination", "Questions"),
        table=plot_table("decontamination", "Questions"),
    log:
        "<logs>/plot_decontamination/{recipe}.log",
    benchmark:
        "<usage>/plot_decontamination/{recipe}.jsonl"
    params:
        plot="decontamination",
        plan=plan_file,
        tables=recipe_files("clean", "dropped.parquet"),


use rule plot_funnel as plot_training with:
    "Plot the training loss and learning rate of a recipe's student."
    input:
        tables=recipe_files("student", "metrics.parquet"),
    output:
        plot=plot("training", "Student"),
        table="<results>/recipes/{recipe}/plots/training.tsv",
    log:
        "<logs>/plot_training/{recipe}.log",
    benchmark:
        "<usage>/plot_training/{recipe}.jsonl"
    params:
        plot="training",
        plan=plan_file,
        tables=recipe_files("student", "metrics.parquet"),


use rule plot_funnel as plot_scores with:
    "Plot the scores of a recipe's student and of its base model, with errors."
    input:
        tables=recipe_files("evaluation"),
    output:
        plot=plot("scores", "Student"),
        table=plot_table("scores", "Student"),
    log:
        "<logs>/plot_scores/{recipe}.log",
    benchmark:
        "<usage>/plot_scores/{recipe}.jsonl"
    params:
        plot="scores",
        plan=plan_file,
        tables=recipe_files("evaluation"),


use rule plot_funnel as plot_resources with:
    "Plot the time and memory that each rule took."
    input:
        manifest="<results>/recipes/{recipe}/manifest.json",
    output:
        plot=plot("resources", "Time and memory", "time and memory"),
        table="<results>/recipes/{recipe}/plots/resources.tsv",
    log:
        "<logs>/plot_resources/{recipe}.log",
    benchmark:
        "<usage>/plot_resources/{recipe}.jsonl"
    params:
        plot="resources",
        plan=plan_file,
