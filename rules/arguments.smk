# What stages hand to their programs: arguments and inputs read off the plan.


def domain_flags(wildcards):
    """The domains of a dataset with their questions, their answers and what was measured of these."""
    stage = PLAN.stage("dataset", wildcards.id)
    return " ".join(
        f"--domain {domain} {PLAN.path(drawn)} {PLAN.path(answers)} {PLAN.path(measured)}"
        for domain, drawn, answers, measured in zip(
            stage.settings["domains"],
            stage.inputs["drawn"],
            stage.inputs["answers"],
            stage.inputs["measured"],
            strict=True,
        )
    )


def source_licences(wildcards):
    """Licence of every source of a dataset, as JSON."""
    stages = PLAN.stage("dataset", wildcards.id).upstream()
    licences = {
        stage.settings["name"]: stage.execution.get("licence", "unknown")
        for stage in stages
        if stage.kind == "source"
    }
    return json.dumps(licences, sort_keys=True)


def example_files(kind, role):
    """Input function: the tables of texts that are examples of a classifier or direction."""
    return lambda wildcards: [
        PLAN.path(stage) for stage in PLAN.stage(kind, wildcards.id).inputs[role]
    ]


def selection_policy(wildcards):
    """The threshold of a selection by label, and what becomes of questions without one."""
    settings = PLAN.stage("selected", wildcards.id).settings
    if settings["by"] == "random":
        return ""
    least = settings["at_least"]
    threshold = "" if least is None else f" --at-least {least}"
    return f"--unlabelled {settings['unlabelled']}{threshold}"


def evidence_flags(wildcards):
    """What a filter of answers looks at beside them."""
    stage = PLAN.stage("filtered", wildcards.id)
    return " ".join(
        f"--{role} {PLAN.path(stage.input(role))}"
        for role in stage.inputs
        if role not in ("questions", "answers")
    )


def sampling_tasks(wildcards):
    """The benchmarks of an evaluation with their questions, prompts and numbers of answers."""
    stage = PLAN.stage("evaluation", wildcards.id)
    return " ".join(
        f"--benchmark {task['benchmark']} {PLAN.path(questions)} {shlex.quote(prompt or '-')} {task['samples']}"
        for task, questions, prompt in zip(
            stage.settings["tasks"],
            stage.inputs["benchmarks"],
            stage.execution["prompts"],
            strict=True,
        )
    )


def grading_tasks(wildcards):
    """The benchmarks of an evaluation with their questions and graders."""
    stage = PLAN.stage("evaluation", wildcards.id)
    return " ".join(
        f"--benchmark {task['benchmark']} {PLAN.path(questions)} {task['grader']}"
        for task, questions in zip(
            stage.settings["tasks"], stage.inputs["benchmarks"], strict=True
        )
    )


def experiment_settings(wildcards):
    """The configuration of one experiment, as JSON: itself, its base recipe and where things lie."""
    name = PLAN.stage("experiment", wildcards.id).settings["experiment"]
    experiment = config["experiments"][name]
    base = experiment.get("base")
    settings = {
        "results": RESULTS,
        "catalog": CATALOG,
        "recipes": {base: config["recipes"][base]} if base else {},
        "experiments": {name: experiment},
    }
    return json.dumps(settings)  # in their order, which is that of the arms


def experiment_paths(name):
    """What an experiment ends in."""
    stage = PLAN.experiments[name].stage
    return [
        PLAN.path(stage, file)
        for file in ("scores.tsv", "scores.parquet", "plot.svg", "summary.md")
    ]


def judgement_paths(wildcards):
    """What judges said of the answers of an evaluation."""
    evaluation = PLAN.stage("evaluation", wildcards.id)
    return [PLAN.path(stage) for stage in PLAN.judgements(evaluation)]


def recipe_paths(recipe, kind, file=None):
    """The file of every stage of a kind in a recipe."""
    return [
        PLAN.path(stage, file)
        for stage in PLAN.recipes[recipe].stages()
        if stage.kind == kind
    ]


def recipe_goals(name):
    """What a recipe is asked for: its manifest and the plots that it has data for."""
    plots = plots_of(PLAN.recipes[name])
    return [
        f"{RESULTS}/recipes/{name}/manifest.json",
        f"{RESULTS}/recipes/{name}/report.html",
        *(f"{RESULTS}/recipes/{name}/plots/{p}.svg" for p in plots),
        *sensitivity_tables(name),
    ]


def sensitivity_tables(name):
    """What other thresholds of decontamination would drop, for the domains of a recipe that ask for it."""
    stages = sensitive(PLAN.recipes[name], config["recipes"][name])
    return [PLAN.path(stage, "sensitivity.parquet") for stage in stages]


def described_stages(wildcards):
    """Every stage of a recipe as JSON: what its id is made of, where its main file is, what else is worth telling."""
    recipe = PLAN.recipes[wildcards.recipe]
    domain_of = {
        stage: domain
        for domain, stages in recipe.domains.items()
        for stage in stages.values()
    }
    described = [
        {
            "kind": stage.kind,
            "domain": domain_of.get(stage),
            "id": stage.id,
            "path": PLAN.path(stage),
            "settings": stage.settings,
            "inputs": {
                role: [f"{other.kind}/{other.id}" for other in others]
                for role, others in stage.inputs.items()
            },
            "about": {
                key: stage.execution[key]
                for key in ("licence", "homepage", "prompt", "prompts", "price")
                if stage.execution.get(key)
            },
        }
        for stage in recipe.stages()
    ]
    return json.dumps(described, sort_keys=True)


def varied(recipe):
    """The experiments among the targets that vary a recipe."""
    return [
        experiment
        for name, experiment in PLAN.experiments.items()
        if config["experiments"][name].get("base") == recipe
    ]


def experiment_scores(wildcards):
    """The comparisons of the experiments that vary a recipe."""
    return [PLAN.path(experiment.stage) for experiment in varied(wildcards.recipe)]


def experiment_flags(wildcards):
    """Name, scores and summary of the experiments that vary a recipe."""
    return " ".join(
        f"--experiment {experiment.name} {PLAN.path(experiment.stage)} {PLAN.path(experiment.stage, 'summary.md')}"
        for experiment in varied(wildcards.recipe)
    )


def planned_rows(wildcards):
    """The estimates of a recipe as JSON, with the GPUs and shards of each of its stages."""
    stages = PLAN.recipes[wildcards.recipe].stages()
    return json.dumps(estimates_of_kinds(stages, ACCELERATOR))


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
    stages = recipe.questions()
    funnel = [
        (label, PLAN.path(stage))
        for kind, label in LEVELS.items()
        for stage in stages
        if stage.kind == kind
    ]
    funnel.append((LABELS["dataset"], PLAN.path(recipe.dataset)))
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


def lockable(wildcards):
    """The sources, benchmarks and models of this configuration, as arguments."""
    names = {
        kind: sorted(
            {s.settings["name"] for s in PLAN.index.values() if s.kind == kind}
        )
        for kind in FETCHED
    }
    return " ".join(f"--{kind}s {' '.join(names[kind])}" for kind in FETCHED)


def publications(kind):
    """What is published of the recipes among the targets, as JSON: manifest, repository, stages of the plan, configuration."""
    found = []
    for name, recipe in PLAN.recipes.items():
        wanted = config["recipes"][name].get("publish", {})
        if kind in wanted:
            own = {
                "targets": [name],
                "recipes": {name: config["recipes"][name]},
            }
            found.append(
                {
                    "manifest": f"{RESULTS}/recipes/{name}/manifest.json",
                    "repository": wanted[kind],
                    "private": wanted.get("private", True),
                    "stages": sorted(
                        f"{stage.kind}/{stage.id}" for stage in recipe.stages()
                    ),
                    "config": {**own, "catalog": CATALOG, "accelerator": ACCELERATOR},
                }
            )
    return json.dumps(found)
