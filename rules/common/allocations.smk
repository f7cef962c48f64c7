# What this configuration's jobs will ask SLURM for: `preflight` compares it with what the cluster allows.
import shlex
from importlib.util import find_spec
from types import SimpleNamespace

from snakemake.iocontainers import InputFiles

EXECUTOR = "snakemake_executor_plugin_slurm"


class AskedResources(dict):
    """A job's resources as the executor reads them, by key and by attribute."""

    __getattr__ = dict.__getitem__


class WatchedInput(InputFiles):
    """No input files, and whether anything was asked of them (`was_read`)."""

    was_read = False

    def __getattribute__(self, name):
        if not name.startswith("__") and name != "was_read":
            self.was_read = True
        return super().__getattribute__(name)

    def __iter__(self):
        self.was_read = True
        return super().__iter__()

    def __len__(self):
        self.was_read = True
        return super().__len__()

    def __getitem__(self, key):
        self.was_read = True
        return super().__getitem__(key)


def planned_jobs():
    """A file of every job still to be made -> the number of such jobs: one shard stands for all shards of a stage."""
    files, made = {}, set()
    for stage in PLAN.index.values():
        if Path(PLAN.path(stage)).exists():
            made.add(PLAN.path(stage))
            continue
        files[PLAN.path(stage)] = 1
        asks = inference(stage)
        if "shards" in stage.execution and (asks is None or asks.folder):
            missing = [
                path
                for shard in range(stage.execution["shards"])
                if not Path(path := shard_path(PLAN, stage, shard)).exists()
            ]
            files.update({path: len(missing) for path in missing[:1]})
        elif asks and not Path(PLAN.path(stage, asks.file)).exists():
            files[PLAN.path(stage, asks.file)] = 1
    for goals in (
        *map(recipe_goals, PLAN.recipes),
        *map(experiment_goals, PLAN.experiments),
    ):
        for file in goals:
            if file not in made:
                files.setdefault(file, 1)
    return files


def sbatch_words(rule, wildcards, attempt):
    """The arguments of sbatch of a job's attempt, by the executor's own functions, and whether they rest on its input."""
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    files = WatchedInput()
    files.was_read = False  # making it reads it
    # disk_mb is by default of the input, and sbatch is not told it
    expanded = rule.expand_resources(
        wildcards, files, attempt, skip_evaluation={"tmpdir", "launcher", "disk_mb"}
    )
    resources = AskedResources(expanded.items())
    account = str(resources.get("slurm_account", "")).replace(",", " ").split()
    partition = resources.get("slurm_partition")
    parameters = {
        "run_uuid": "preflight",
        "slurm_logfile": os.devnull,
        "comment_str": "preflight",
        "account": f"-A {shlex.quote(account[0])}" if account else "",
        "partition": f"-p {shlex.quote(str(partition))}" if partition else "",
        "workdir": None,
    }
    job = SimpleNamespace(resources=resources, threads=resources["_cores"])
    line = get_submit_command(job, parameters, settings=workflow.executor_settings)
    return shlex.split(line + set_gres_string(job))[1:], files.was_read


@functools.cache
def allocations():
    """The distinct allocations of the plan, at the first attempt and at the last, with the rules that ask for them."""
    found, unknown, seen, reading = {}, {}, set(), set()
    submitted = [each for each in workflow.rules if not workflow.is_local(each)]
    for file, jobs in planned_jobs().items():
        for each in submitted:
            if not each.is_producer(file):
                continue
            wildcards = each.get_wildcards(file)
            job = (each.name, *wildcards.values())
            if job in seen:
                continue
            seen.add(job)
            attempts = sorted({1, 1 + each.restart_times})
            words = []
            try:
                for attempt in attempts:
                    arguments, reads = sbatch_words(each, wildcards, attempt)
                    words.append((attempt, tuple(arguments)))
                    reading |= {each.name} if reads else set()
            except WorkflowError as error:
                unknown[each.name] = str(error)
                continue
            asked = found.setdefault(tuple(words), {})
            asked[each.name] = asked.get(each.name, 0) + jobs
    return {
        "allocations": [
            {"attempts": attempts, "rules": rules} for attempts, rules in found.items()
        ],
        "unknown": unknown,
        "reads_input": sorted(reading),
        "jobs": workflow.resource_settings.nodes,
    }


def allocations_flag(wildcards, input):
    """Params function: the allocations as a file, as an argument; nothing on a single machine."""
    if not ON_CLUSTER or not running() or find_spec(EXECUTOR) is None:
        return ""
    text = json.dumps(allocations())
    path = content_path(f"{RESULTS}/{PLANS}", text, ".json")
    write_once(path, text)
    return f"--allocations {shlex.quote(str(path))}"
