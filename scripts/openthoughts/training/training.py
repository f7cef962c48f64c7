"""Training a student: LLaMA-Factory's files, its start on one or more nodes, and what is kept of it.

Everything of a training lies in ``training-<fingerprint>/`` beside the student's ``model.json``, untracked, so that no
rerun deletes it. The fingerprint covers the settings, the seed, the data and the base model:

- ``run-<processes>/``: one way of running it, by its number of processes, since DeepSpeed's checkpoints can only be
  continued by as many. LLaMA-Factory's files (``train.yaml``, ``deepspeed.json``), ``steps.jsonl`` and, until the
  training is over, ``checkpoint-N/``;
- ``weights/``: the trained model;
- ``complete.json``: the digest of the weights and the metrics; written last.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from openthoughts.base.cli import UserError
from openthoughts.base.engine_child import engine_name, engine_variables, run_engine
from openthoughts.base.environments import Environment, find
from openthoughts.base.hashing import digest
from openthoughts.base.tables import Schema, write_table, write_text
from openthoughts.models.model import Model, describe
from openthoughts.store.leases import KNOWN_DEAD_SECONDS, Presence, leased
from openthoughts.training.scales import Scale

CHILD = Path(__file__).resolve().parents[2] / "engines" / "llamafactory_train.py"

MARKER = "complete.json"

KEPT = frozenset({"train.yaml", "deepspeed.json", "steps.jsonl", "trainer_state.json"})
"""What stays of a run once its model is in ``weights/``."""

NOT_MODEL = ("*.bin", "*.pt", "*.pth", "*.py", "latest", "trainer_state.json", MARKER)
"""Files of a checkpoint's folder that are not the model's."""

METRICS: Schema = {
    "step": pl.Int64,
    "epoch": pl.Float64,
    "loss": pl.Float64,
    "learning_rate": pl.Float64,
    "grad_norm": pl.Float64,
    "tokens_per_second": pl.Float64,  # over all processes, padding included
    "mfu": pl.Float64,  # share of the GPUs' peak operations; null without a GPU
}
"""One row an optimiser step."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Nodes:
    """Where a training runs."""

    accelerator: str
    nodes: int
    processes: int
    """Training processes of a node: its GPUs, or what was asked for on processors."""

    @property
    def world(self) -> int:
        """Training processes in all."""
        return self.nodes * self.processes


@dataclass(frozen=True)
class Training:
    """One training: what comes out is a function of these."""

    name: str
    tokenized: Path
    statistics: Mapping[str, Any]
    base: Model
    scale: Scale
    seed: int

    def fingerprint(self) -> str:
        """Hex digits that name everything that decides the trained model."""
        return digest(
            {
                "settings": self.scale.output_settings(),
                "seed": self.seed,
                "data": self.statistics["digest"],
                "model": self.base.key(),
            },
            16,
        )

    def folder(self, output: Path) -> Path:
        """The folder of this training, beside the ``model.json`` that is to be written."""
        return output.resolve().parent / f"training-{self.fingerprint()}"


def train(training: Training, where: Nodes, output: Path, metrics: Path) -> None:
    """Train, or go on where an earlier attempt was ended, and write ``model.json`` and the metrics.

    A training that is over is verified and returned. On several nodes every node calls this; the first one prepares,
    and writes the results.
    """
    check_made_for(training)
    accumulation = training.scale.accumulation(where.world)
    meeting = rendezvous(os.environ, where.nodes)
    folder = training.folder(output)
    run = folder / f"run-{where.world}"
    if meeting.rank:
        # The first node opens the meeting once it has prepared; until then this one's torchrun waits. The last
        # checkpoint goes only when the marker of the whole training is there, hence this order.
        if last_checkpoint(run) is None and finished(folder) is None:
            launch(environment_of(where), run, where, meeting)
        return
    with sole_writer(folder):
        if finished(folder) is None:
            environment = environment_of(where)
            prepare(training, where, accumulation, run)
            if last_checkpoint(run) is None:
                launch(environment, run, where, meeting)
            keep_model(training, run, folder)
        publish(training, folder, output, metrics)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Have a training's folder to oneself: a restarted workflow's job may meet the one that it had started before.

    Raises ``UserError`` where another process that trains this is alive.
    """
    leases = folder / "leases"
    presence = Presence(leases / "presences")
    try:
        with leased(leases, "training", leases / "presences", presence.name, KNOWN_DEAD_SECONDS) as had:
            if not had:
                raise UserError(f"another job trains in {folder}: let it end, or cancel it, then run again.")
            yield
    finally:
        presence.close()


def check_made_for(training: Training) -> None:
    """Raise ``UserError`` where the data was cut or packed otherwise than the scale says."""
    for name in ("cutoff", "packing", "neat_packing"):
        wanted, made = getattr(training.scale, name), training.statistics.get(name)
        if made is not None and wanted != made:
            raise UserError(f"the data was tokenised with {name} {made}, the scale says {wanted}: tokenise it again.")


@dataclass(frozen=True)
class Meeting:
    """How the nodes of a training find each other: this node's rank, and the first node's address and port."""

    rank: int
    address: str
    port: int


def rendezvous(environ: Mapping[str, str], nodes: int) -> Meeting:
    """Where to meet, from SLURM's variables or from those that torchrun's users set (``NODE_RANK``, ``MASTER_ADDR``).

    A single node talks to itself on a free port. Raises ``UserError`` where several nodes were asked for and this
    process is not one of as many tasks.
    """
    if nodes == 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return Meeting(0, "127.0.0.1", probe.getsockname()[1])
    tasks = environ.get("SLURM_STEP_NUM_TASKS") or environ.get("NNODES")
    rank = environ.get("SLURM_PROCID") or environ.get("NODE_RANK")
    if rank is None or tasks != str(nodes):
        raise UserError(
            f"training on {nodes} nodes needs one task a node, and this is one of {tasks or 'no'} tasks: start it with "
            f"srun --nodes {nodes} --ntasks {nodes} --ntasks-per-node 1."
        )
    address = environ.get("MASTER_ADDR") or first_host(environ)
    # One for each job, below the ports that Linux hands out (from 32768).
    port = environ.get("MASTER_PORT") or 20000 + int(environ.get("SLURM_JOB_ID", "0")) % 10000
    return Meeting(int(rank), address, int(port))


def first_host(environ: Mapping[str, str]) -> str:
    """The first node of the SLURM step, else of the job."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST")
    if not nodes:
        raise UserError("there is no MASTER_ADDR and no SLURM_JOB_NODELIST: start the training with srun.")
    shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=False)
    if shown.returncode or not shown.stdout.split():
        raise UserError(f"scontrol cannot name the nodes {nodes} ({shown.stderr.strip()}): set MASTER_ADDR.")
    return shown.stdout.split()[0]


def prepare(training: Training, where: Nodes, accumulation: int, run: Path) -> None:
    """Write LLaMA-Factory's files and move incomplete checkpoints aside."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "running").touch()
    # On NFS an exclusive lock needs a file that is open for writing, a shared one a file open for reading.
    with (run / "running").open("r+") as running, suppress(OSError):
        fcntl.flock(running, fcntl.LOCK_EX)  # held by the processes of an earlier attempt until they are gone
    for other in sorted(run.parent.glob("run-*/checkpoint-*")):
        if other.parent != run:
            log.info("%s was made by another number of processes and cannot be continued by %d", other, where.world)
    for checkpoint in checkpoints(run):
        if not whole(checkpoint):
            log.info("%s is incomplete: moved aside", checkpoint)
            checkpoint.rename(free_name(checkpoint))
    write_text(json.dumps(deepspeed_settings(), indent=2) + "\n", run / "deepspeed.json")
    arguments = train_arguments(training, where.accelerator, accumulation, run)
    write_text(yaml.safe_dump(arguments, sort_keys=False), run / "train.yaml")
    epoch, total = training.scale.steps(training.statistics["packed_rows"])
    log.info(
        "training %s on %d rows: %d steps (%d an epoch) of %d rows (%d processes, %d rows each)",
        training.name,
        training.statistics["packed_rows"],
        total,
        epoch,
        training.scale.global_batch,
        where.world,
        accumulation,
    )


def train_arguments(training: Training, accelerator: str, accumulation: int, run: Path) -> dict[str, Any]:
    """LLaMA-Factory's arguments: the published full fine-tuning, with the scale's settings."""
    scale, statistics = training.scale, training.statistics
    length = {"max_steps": scale.max_steps} if scale.max_steps else {"num_train_epochs": scale.epochs}
    if accelerator == "cuda":
        device = {"flash_attn": "fa2", "enable_liger_kernel": True, "dataloader_num_workers": 4}
    else:
        device = {"use_cpu": True, "flash_attn": "sdpa", "disable_gradient_checkpointing": True}
    return {
        "model_name_or_path": str(training.base.weights),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "deepspeed": str(run / "deepspeed.json"),
        "bf16": True,
        **device,
        "dataset": training.name,  # a name is asked for; the data is read from tokenized_path
        "tokenized_path": str(training.tokenized.resolve()),
        "template": statistics["template"],
        "default_system": statistics.get("default_system"),
        "cutoff_len": scale.cutoff,
        "packing": scale.packing,
        "neat_packing": scale.neat_packing,
        "train_sampling_strategy": "group_by_length" if scale.group_by_length else "random",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": scale.learning_rate,
        **length,
        "lr_scheduler_type": scale.scheduler,
        "warmup_ratio": scale.warmup_ratio,
        "optim": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": training.seed,
        "data_seed": training.seed,
        "output_dir": str(run),
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": scale.save_steps,
        "save_total_limit": 2,
        "include_num_input_tokens_seen": "all",
        "ddp_timeout": 7200,
        "disable_tqdm": True,
        "report_to": "none",
    }


def deepspeed_settings() -> dict[str, Any]:
    """DeepSpeed ZeRO-3 as LLaMA-Factory's example has it; ``auto`` is filled in from LLaMA-Factory's arguments."""
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": False,
            "contiguous_gradients": True,
            "sub_group_size": 1e9,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_max_live_parameters": 1e9,
            "stage3_max_reuse_distance": 1e9,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
    }


def environment_of(where: Nodes) -> Environment:
    """LLaMA-Factory's environment. Raises ``UserError`` where it is not built."""
    return find(engine_name("llamafactory", where.accelerator))


def launch(environment: Environment, run: Path, where: Nodes, meeting: Meeting) -> None:
    """Run this node's training processes to their end.

    Raises ``UserError`` where they fail, but for their very end: a training whose last checkpoint is whole is over.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // where.processes)
    variables = engine_variables(environment, where.accelerator, threads)
    if where.nodes == 1 and where.accelerator == "cpu":
        variables["GLOO_SOCKET_IFNAME"] = "lo"
    torchrun = ["-m", "torch.distributed.run", "--nnodes", str(where.nodes), "--node_rank", str(meeting.rank)]
    torchrun += ["--nproc_per_node", str(where.processes)]
    torchrun += ["--master_addr", meeting.address, "--master_port", str(meeting.port)]
    try:
        run_engine([*environment.python, *torchrun, str(CHILD), str(run / "train.yaml")], variables, "training")
    except UserError as error:
        if last_checkpoint(run) is None:
            raise
        log.warning("the training is over, though its processes ended badly (%s)", error)


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, by step."""
    found = [path for path in run.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def whole(checkpoint: Path) -> dict[str, Any] | None:
    """The marker of a checkpoint whose files all have the size that they had when it was finished, else None."""
    try:
        marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
        sizes = {name: (checkpoint / name).stat().st_size for name in marker["files"]}
    except (OSError, ValueError, KeyError):
        return None
    return dict(marker) if sizes == marker["files"] else None


def last_checkpoint(run: Path) -> Path | None:
    """The whole checkpoint that ends the training, if it is there."""
    return next((path for path in reversed(checkpoints(run)) if (whole(path) or {}).get("last")), None)


def free_name(checkpoint: Path) -> Path:
    """A name beside an incomplete checkpoint that LLaMA-Factory does not take for a checkpoint."""
    number = 1
    while (path := checkpoint.with_name(f"incomplete-{checkpoint.name}-{number}")).exists():
        number += 1
    return path


def keep_model(training: Training, run: Path, folder: Path) -> None:
    """Make ``weights/`` of the last checkpoint, write the marker, and delete what only a restart needs.

    The last checkpoint holds the trained model in bfloat16, with tokenizer, chat template and generation settings.
    """
    last = last_checkpoint(run)
    if last is None:
        raise UserError(f"the training ended without its last checkpoint in {run}: its messages are above.")
    partial, weights = folder / ".weights.partial", folder / "weights"
    for stale in (partial, weights):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir()
    for path in sorted(last.iterdir()):
        if path.is_file() and not any(path.match(pattern) for pattern in NOT_MODEL):
            shutil.copyfile(path, partial / path.name)
    stop_at_end_of_turn(partial)
    use_cache(partial)
    partial.rename(weights)
    shutil.copyfile(last / "trainer_state.json", run / "trainer_state.json")
    described = describe(weights, folder / "model.json", training.name)
    summary = {"digest": described.digest, "run": run.name, **summary_of(read_metrics(run))}
    write_text(json.dumps(summary, indent=2) + "\n", folder / MARKER)
    for path in sorted(folder.glob("run-*/*")):
        if path.name in KEPT:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def stop_at_end_of_turn(weights: Path) -> None:
    """See that generation stops at the tokenizer's end token, which the template may have set anew."""
    tokenizer = json.loads((weights / "tokenizer_config.json").read_text(encoding="utf-8"))
    token = tokenizer.get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    added = json.loads((weights / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    end = next((entry["id"] for entry in added if entry["content"] == token), None)
    path = weights / "generation_config.json"
    if end is None or not path.is_file():
        return
    settings = json.loads(path.read_text(encoding="utf-8"))
    known = settings.get("eos_token_id")
    ends = known if isinstance(known, list) else [] if known is None else [known]
    if end not in ends:
        settings["eos_token_id"] = [end, *ends]
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def use_cache(weights: Path) -> None:
    """Have generation use its cache, which training switches off in the configuration that it saves."""
    path = weights / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"use_cache": True}, indent=2) + "\n", encoding="utf-8")


def finished(folder: Path) -> dict[str, Any] | None:
    """What ``complete.json`` says of a training that is over and whose weights are what they were, else None."""
    try:
        complete = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        made = describe(folder / "weights", folder / "model.json", "student").digest
    except (OSError, ValueError, UserError):
        return None
    if made != complete.get("digest"):
        log.warning("%s is not what the training made: training again", folder / "weights")
        return None
    return dict(complete)


def read_metrics(run: Path) -> pl.DataFrame:
    """The metrics of a run: of a step that was done again after a restart, the last time counts."""
    lines: dict[int, dict[str, Any]] = {}
    for line in (run / "steps.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
            lines[int(values["step"])] = values
        except (ValueError, KeyError):  # a line that a killed process did not finish
            continue
    return pl.DataFrame([lines[step] for step in sorted(lines)], schema=dict(METRICS))


def summary_of(metrics: pl.DataFrame) -> dict[str, Any]:
    """Steps, epochs, first and last loss, and the median speed of a training."""
    return {
        "steps": metrics.height,
        "epochs": metrics["epoch"].max(),
        "first_loss": metrics["loss"].first(),
        "last_loss": metrics["loss"].last(),
        "tokens_per_second": metrics["tokens_per_second"].median(),
        "mfu": metrics["mfu"].median(),
    }


def publish(training: Training, folder: Path, output: Path, metrics: Path) -> None:
    """Write the metrics and, last, the student's ``model.json``."""
    complete = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    write_table(read_metrics(folder / complete["run"]), metrics, METRICS)
    made = {
        "fingerprint": training.fingerprint(),
        "base": training.base.identity,
        "settings": training.scale.output_settings(),
        "seed": training.seed,
        **{key: complete[key] for key in complete if key not in ("digest", "run")},
    }
    student = describe(
        folder / "weights",
        output,
        training.name,
        dtype="bfloat16",
        max_model_len=training.base.max_model_len,
        licence=training.base.licence,
        training=made,
    )
    student.write(output)
    log.info("%s: %d steps, loss %.4f -> %.4f", output, made["steps"], made["first_loss"], made["last_loss"])
