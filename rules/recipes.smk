# A recipe by its name: what it is made of, and its plots.


def stages_flag(wildcards):
    """Every stage of a recipe: kind, domain (or -), id and path."""
    recipe = PLAN.recipes[wildcards.recipe]
    domain_of = {
        stage: domain
        for domain, stages in recipe.domains.items()
        for stage in map(id, stages.values())
    }
    return " ".join(
        f"--stage {stage.kind} {domain_of.get(stage, '-')} {stage.id} {PLAN.path(stage)}"
        for stage in recipe.stages()
        if stage.kind != "tokenized"
    )


def links_flag(wildcards):
    """What lies beside a recipe's manifest by a plain name."""
    recipe = PLAN.recipes[wildcards.recipe]
    links = {"dataset": recipe.dataset}
    if recipe.student:
        links["model"] = recipe.student
    for name, stage in recipe.evaluations.items():
        links["scores" if name == "student" else f"scores-{name}"] = stage
    return " ".join(
        f"--link {name} {RESULTS}/{stage.folder}" for name, stage in links.items()
    )


def manifest_inputs(wildcards):
    """The main file of every stage of a recipe."""
    return [
        PLAN.path(stage)
        for stage in PLAN.recipes[wildcards.recipe].stages()
        if stage.kind != "tokenized"
    ]


def funnel_flags(wildcards):
    """The stages of the funnel, in the order the data flows."""
    recipe = PLAN.recipes[wildcards.recipe]
    stages = recipe.stages()
    funnel = [
        (label, PLAN.path(stage))
        for label, kind in (
            ("sourced", "source"),
            ("decontaminated", "clean"),
            ("selected", "selected"),
            ("short enough", "limited"),
            ("deduplicated", "deduplicated"),
            ("drawn", "drawn"),
        )
        for stage in stages
        if stage.kind == kind
    ]
    funnel.append(("dataset rows", PLAN.path(recipe.dataset)))
    return " ".join(f"--stage '{label}' {path}" for label, path in funnel)


def label_series(wildcards):
    """The labels of every source of a recipe."""
    return " ".join(
        f"--series '{stage.input('questions').input('questions').settings['name']}: {stage.settings['method']}'"
        f" {PLAN.path(stage)} value"
        for stage in PLAN.recipes[wildcards.recipe].stages()
        if stage.kind == "labels"
    )


def length_series(wildcards):
    """The answer lengths of every domain of a recipe."""
    domains = PLAN.recipes[wildcards.recipe].domains
    return " ".join(
        f"--series {domain} {PLAN.path(stages['answers'])} completion_tokens"
        for domain, stages in domains.items()
    )


def dropped_flags(wildcards):
    """What decontamination dropped from each source of a recipe."""
    return " ".join(
        f"--dropped {stage.input('questions').settings['name']} {PLAN.path(stage, 'dropped.parquet')}"
        for stage in PLAN.recipes[wildcards.recipe].stages()
        if stage.kind == "clean"
    )


def score_flags(wildcards):
    """The scores of the models of a recipe."""
    evaluations = PLAN.recipes[wildcards.recipe].evaluations
    return " ".join(
        f"--scores {name} {PLAN.path(stage)}" for name, stage in evaluations.items()
    )


rule describe_recipe:
    "Write down what a recipe is made of, and lay dataset, model and scores beside it by name."
    input:
        stages=manifest_inputs,
    output:
        manifest=RESULTS + "/recipes/{recipe}/manifest.json",
    log:
        LOGS + "/describe_recipe/{recipe}.log",
    benchmark:
        USAGE + "/describe_recipe/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        stages=stages_flag,
        links=links_flag,
        counts=lambda wildcards: PLAN.path(
            PLAN.recipes[wildcards.recipe].dataset, "counts.json"
        ),
    shell:
        "{PY} scripts/describe_recipe.py --recipe {wildcards.recipe} {params.stages} {params.links}"
        " --counts {params.counts} --output {output.manifest} > {log} 2>&1"


rule plot_funnel:
    "Plot how many questions each stage of a recipe leaves."
    input:
        stages=manifest_inputs,
    output:
        plot=report(
            RESULTS + "/recipes/{recipe}/plots/funnel.svg",
            caption="../report/funnel.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "funnel"},
        ),
        table=RESULTS + "/recipes/{recipe}/plots/funnel.tsv",
    log:
        LOGS + "/plot_funnel/{recipe}.log",
    benchmark:
        USAGE + "/plot_funnel/{recipe}.jsonl"
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
            RESULTS + "/recipes/{recipe}/plots/difficulty.svg",
            caption="../report/difficulty.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "labels"},
        ),
        table=RESULTS + "/recipes/{recipe}/plots/difficulty.tsv",
    log:
        LOGS + "/plot_difficulty/{recipe}.log",
    benchmark:
        USAGE + "/plot_difficulty/{recipe}.jsonl"
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
            RESULTS + "/recipes/{recipe}/plots/lengths.svg",
            caption="../report/lengths.rst",
            category="Answers",
            labels={"recipe": "{recipe}", "plot": "lengths"},
        ),
        table=RESULTS + "/recipes/{recipe}/plots/lengths.tsv",
    log:
        LOGS + "/plot_lengths/{recipe}.log",
    benchmark:
        USAGE + "/plot_lengths/{recipe}.jsonl"
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
            RESULTS + "/recipes/{recipe}/plots/decontamination.svg",
            caption="../report/decontamination.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "decontamination"},
        ),
        table=report(
            RESULTS + "/recipes/{recipe}/plots/decontamination.tsv",
            caption="../report/decontamination.rst",
            category="Questions",
            labels={"recipe": "{recipe}", "plot": "decontamination (table)"},
        ),
    log:
        LOGS + "/plot_decontamination/{recipe}.log",
    benchmark:
        USAGE + "/plot_decontamination/{recipe}.jsonl"
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
            RESULTS + "/recipes/{recipe}/plots/training.svg",
            caption="../report/training.rst",
            category="Student",
            labels={"recipe": "{recipe}", "plot": "training"},
        ),
        table=RESULTS + "/recipes/{recipe}/plots/training.tsv",
    log:
        LOGS + "/plot_training/{recipe}.log",
    benchmark:
        USAGE + "/plot_training/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "{PY} scripts/plot_training.py --metrics student {input.metrics}"
        " --output {output.plot} --table {output.table} > {log} 2>&1"


rule plot_scores:
    "Plot the scores of a recipe's student and of its base model, with errors."
    input:
        scores=lambda wildcards: recipe_paths(wildcards.recipe, "evaluation"),
    output:
        plot=report(
            RESULTS + "/recipes/{recipe}/plots/scores.svg",
            caption="../report/scores.rst",
            category="Student",
            labels={"recipe": "{recipe}", "plot": "scores"},
        ),
        table=report(
            RESULTS + "/recipes/{recipe}/plots/scores.tsv",
            caption="../report/scores.rst",
            category="Student",
            labels={"recipe": "{recipe}", "plot": "scores (table)"},
        ),
    log:
        LOGS + "/plot_scores/{recipe}.log",
    benchmark:
        USAGE + "/plot_scores/{recipe}.jsonl"
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
        manifest=RESULTS + "/recipes/{recipe}/manifest.json",
    output:
        plot=report(
            RESULTS + "/recipes/{recipe}/plots/resources.svg",
            caption="../report/resources.rst",
            category="Time and memory",
            labels={"recipe": "{recipe}", "plot": "time and memory"},
        ),
        table=RESULTS + "/recipes/{recipe}/plots/resources.tsv",
    log:
        LOGS + "/plot_resources/{recipe}.log",
    benchmark:
        USAGE + "/plot_resources/{recipe}.jsonl"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        folder=USAGE,
    shell:
        "{PY} scripts/plot_resources.py --folder {params.folder}"
        " --output {output.plot} --table {output.table} > {log} 2>&1"
