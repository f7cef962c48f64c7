# One dataset of all domains, in ShareGPT form.
rule assemble_dataset:
    "Assemble the domains into one shuffled dataset with its card."
    input:
        drawn=files("dataset", "drawn"),
        answers=files("dataset", "answers", "completions.parquet"),
        measured=files("dataset", "measured", "measures.parquet"),
    output:
        dataset="<results>/datasets/{id}/dataset.parquet",
        info="<results>/datasets/{id}/dataset_info.json",
        card="<results>/datasets/{id}/README.md",
        counts="<results>/datasets/{id}/counts.json",
    log:
        "<logs>/assemble_dataset/{id}.log",
    benchmark:
        "<usage>/assemble_dataset/{id}.jsonl"
    resources:
        **growing(memory=16000, minutes=240),
    params:
        # Written into the card only: a corrected licence must not train a student again, so it is no setting.
        licences=licences,
        domains=arguments_of("dataset", arguments.dataset_domains),
        difficulty=lambda wildcards: " ".join(
            PLAN.stage("dataset", wildcards.id).settings["difficulty"]
        ),
        seed=setting("dataset", "seed"),
    shell:
        "{PY} {SCRIPTS}/assemble_dataset.py {params.domains} --difficulty {params.difficulty}"
        " --recipe {wildcards.id} --seed {params.seed} --licences {params.licences:q}"
        " --output {output.dataset:q} --info {output.info:q} --card {output.card:q} --counts {output.counts:q} > {log:q} 2>&1"
