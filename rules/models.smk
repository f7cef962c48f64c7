# Models as small files: who they are, and where their weights lie.
rule fetch_model:
    "Fetch one model of the catalog (of a hosted one only its card is written)."
    output:
        model="<results>/models/{id}/model.json",
    log:
        "<logs>/fetch_model/{id}.log",
    benchmark:
        "<usage>/fetch_model/{id}.jsonl"
    localrule: INTERNET_HERE
    resources:
        **internet(),
        **growing(memory=4000, minutes=480, steady=True),
    params:
        name=setting("model", "name"),
        entry=setting("model", "entry"),
        revision=revision_flag("model"),
    shell:
        "{PY} {SCRIPTS}/fetch_model.py --name {params.name} --entry {params.entry:q} {params.revision}"
        " --output {output.model:q} > {log:q} 2>&1"
