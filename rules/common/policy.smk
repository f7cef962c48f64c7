# Where jobs run: partition, GPUs and nodes follow from what a job needs and from what a cluster's profile names in its
# default-resources. On a single machine nothing here applies.
import signal

from openthoughts.sources.entries import needs_pin
from openthoughts.plan.register import FETCHED

CPU_PARTITION = site("slurm_partition")
GPU_PARTITION = site("gpu_partition") or CPU_PARTITION
NETWORK_PARTITION = site("network_partition")
GPU_TYPE = site("gpu_type")
ON_CLUSTER = CPU_PARTITION is not None

# Without a partition that has internet, what needs it runs where Snakemake runs.
INTERNET_HERE = ON_CLUSTER and NETWORK_PARTITION is None

if ON_CLUSTER and "SLURM_JOB_ID" in os.environ:
    # The warning before a job's time limit reaches all of its processes and is meant for the rule's program, which
    # handles it; this process and the shell in between must live on, and so must the program's engine.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # Engines keep their compiled kernels there, and remove them at the end.
    os.environ.setdefault("OPENTHOUGHTS_SCRATCH", site("tmpdir") or "")


def internet():
    """The resources of a rule that needs the internet."""
    return {
        "network": 1,
        **({"slurm_partition": NETWORK_PARTITION} if NETWORK_PARTITION else {}),
    }


def asks_only_apis(kind):
    """Whether every model that stages of a kind ask is a hosted one."""
    return all(is_api(entry) for entry in asked_models(kind))


def gres(gpus):
    """SLURM's name for a number of GPUs of a node; None for none."""
    return ":".join(filter(None, ["gpu", GPU_TYPE, str(gpus)])) if gpus else None


def engine_placement(kind):
    """The resources that place a job which may start an engine on its GPUs, or where it reaches the API that it asks."""
    if not ON_CLUSTER:
        return {}

    def partition(entry):
        if entry_gpus(entry):
            return GPU_PARTITION
        return (is_api(entry) and NETWORK_PARTITION) or CPU_PARTITION

    return {
        "slurm_partition": of_model(kind, partition),
        "nodes": 1,
        # SLURM refuses a number of GPUs beside GPUs of a type.
        "gpu": None,
        "gres": of_model(kind, lambda entry: gres(entry_gpus(entry))),
        # The warning before the time limit, for programs that finish what is in flight.
        "slurm_extra": site("stop_signal"),
        "tasks_per_gpu": of_model(kind, lambda entry: 0 if entry_gpus(entry) else None),
    }


def training_placement():
    """The resources that place a training: its nodes with their GPUs, and one task on each."""
    if not ON_CLUSTER:
        return {"gpu": training_gpus, "launcher": ""}

    def several(value):
        return lambda wildcards: value if training_nodes(wildcards) > 1 else None

    def launcher(wildcards, threads):
        nodes = training_nodes(wildcards)
        if nodes == 1:
            return ""
        gpus = gres(training_gpus(wildcards))
        return (
            f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpus-per-task={threads}"
            f" --kill-on-bad-exit=1 {f'--gres={gpus}' if gpus else ''}"
        )

    return {
        "slurm_partition": lambda wildcards: (
            GPU_PARTITION if training_gpus(wildcards) else CPU_PARTITION
        ),
        "gres": lambda wildcards: gres(training_gpus(wildcards)),
        "tasks_per_gpu": lambda wildcards: 0 if training_gpus(wildcards) else None,
        "mpi": several("srun"),
        "tasks": lambda wildcards: (
            training_nodes(wildcards) if training_nodes(wildcards) > 1 else None
        ),
        "launcher": launcher,
    }


def cluster_flag():
    """What the profile says of the cluster, as an argument; nothing on a single machine."""
    if not ON_CLUSTER:
        return ""
    said = {
        "account": site("slurm_account") or "",
        "cpu_partition": CPU_PARTITION,
        "gpu_partition": GPU_PARTITION,
        "gpu_type": GPU_TYPE or "",
        "network_partition": NETWORK_PARTITION or "",
    }
    return f"--cluster {shlex.quote(json.dumps(said, sort_keys=True))}"


def refuse_unpinned():
    """End a run, before its first job, that would fetch what the lock does not pin."""
    fetches = {
        (job.rule.name.removeprefix("fetch_"), job.wildcards.id)
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in {f"fetch_{kind}" for kind in FETCHED}
    }
    stages = [PLAN.stage(kind, id) for kind, id in fetches]
    loose = sorted(
        stage.settings["name"]
        for stage in stages
        if needs_pin(stage.settings["entry"]) and "pin" not in stage.settings
    )
    if loose:
        raise WorkflowError(
            f"not pinned to a commit or checksum: {', '.join(loose)}: run `snakemake lock`, then again."
        )
