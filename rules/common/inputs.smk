# What a stage is made of and how, looked up in the plan by the id among the wildcards.
import functools
import json

from openthoughts.plan import arguments
from openthoughts.plan.plan_file import PLANS, content_path, plan_text, write_once
from openthoughts.plan.shards import shard_path


def running():
    """Whether jobs are run, so that files may be written: not in a dry run, a lint or the like."""
    return workflow.executor_plugin is not None and not workflow.dryrun


@functools.cache
def plan_path():
    """Where the plan lies as a file."""
    text = plan_text(SETTINGS, PLAN)
    path = content_path(f"{RESULTS}/{PLANS}", text, ".json")
    if running():
        write_once(path, text)
    return str(path)


def plan_file(wildcards, input):
    """Params function: the plan as a file, for programs that describe. As it takes `input`, it causes no rerun."""
    return plan_path()


def argument(words):
    """Arguments of a shell line, in a file where they are long."""
    text = arguments.quoted(words)
    return arguments.argument(text, words, f"{RESULTS}/{PLANS}", running())


def value(text):
    """One argument, which a shell line quotes; in a file where it is long."""
    return arguments.argument(text, [text], f"{RESULTS}/{PLANS}", running())


def arguments_of(kind, function):
    """Params function: arguments read off the plan."""
    return lambda wildcards: argument(function(PLAN, PLAN.stage(kind, wildcards.id)))


def described(kind, function):
    """Params function: as `arguments_of`, of what changes no output. As it takes `input`, it causes no rerun."""
    lookup = arguments_of(kind, function)
    return lambda wildcards, input: lookup(wildcards)


def paths(role):
    """Params function: the inputs of a role as arguments; their number has no limit. It causes no rerun."""
    return lambda wildcards, input: argument(list(getattr(input, role)))


def files(kind, role, file="questions.parquet"):
    """Input function: the file of every stage that plays a role; its main file where `file` is None."""
    return lambda wildcards: [
        PLAN.path(stage, file)
        for stage in PLAN.stage(kind, wildcards.id).inputs.get(role, ())
    ]


def shard_files(kind):
    """Input function: the shards of a stage."""

    def lookup(wildcards):
        stage = PLAN.stage(kind, wildcards.id)
        return [
            shard_path(PLAN, stage, shard) for shard in range(stage.execution["shards"])
        ]

    return lookup


def judgement_files(wildcards):
    """Input function: what judges said of the answers of an evaluation."""
    evaluation = PLAN.stage("evaluation", wildcards.id)
    return [PLAN.path(stage) for stage in PLAN.judgements(evaluation)]


def setting(kind, *names):
    """Params function: a setting of a stage; mappings and lists as JSON."""

    def lookup(wildcards):
        found = PLAN.stage(kind, wildcards.id).settings
        for name in names:
            found = found[name]
        if isinstance(found, (dict, list)):
            return value(json.dumps(found, sort_keys=True))
        return found

    return lookup


def setting_or(kind, name, otherwise):
    """Params function: a setting of a stage, `otherwise` where it has none or null."""

    def lookup(wildcards):
        found = PLAN.stage(kind, wildcards.id).settings.get(name)
        return otherwise if found is None else found

    return lookup


def revision_flag(kind):
    """Params function: the argument of the pinned revision, or nothing where the lock has none."""

    def lookup(wildcards):
        pin = PLAN.stage(kind, wildcards.id).settings.get("pin")
        return (
            f"--revision {pin['revision']}"
            if isinstance(pin, dict) and "revision" in pin
            else ""
        )

    return lookup


def prompt_flag(kind):
    """Params function: the prompt's argument, or nothing where the bare question is asked."""

    def lookup(wildcards):
        path = PLAN.stage(kind, wildcards.id).execution["prompt"]
        return f"--prompt {shlex.quote(path)}" if path else ""

    return lookup


def licences(wildcards, input):
    """Params function: the licence of every source of a dataset. As it takes `input`, it causes no rerun."""
    return value(arguments.source_licences(PLAN, PLAN.stage("dataset", wildcards.id)))
