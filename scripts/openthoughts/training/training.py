"""Training a student: its start on one or more nodes, from the last checkpoint on, and what is kept of it.

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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from openthoughts.base.cli import UserError
from openthoughts.base.engine_child import engine_name, engine_variables, run_engine
from openthoughts.base.environments import Environment, find
from openthoughts.base.places import ENGINES
from openthoughts.base.tables import write_table, write_text
from openthoughts.models.model import describe
from openthoughts.store.leases import KNOWN_DEAD_SECONDS, Presence, leased
from openthoughts.training.arguments import Training, deepspeed_settings, train_arguments
from openthoughts.training.checkpoints import MARKER, checkpoints, free_name, last_checkpoint, whole
from openthoughts.training.metrics import METRICS, read_metrics
from openthoughts.training.nodes import Meeting, Nodes, rendezvous
from openthoughts.training.weights import finished, keep_model

CHILD = ENGINES / "llamafactory_train.py"

log = logging.getLogger(__name__)


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
    """Raise ``UserError`` where the data was cut or packed otherwise than the scale says.

    Data that an earlier version made names no rules; it is the same under all of them where no row was cut.
    """
    made_with = dict(training.statistics)
    if "over_cutoff" not in made_with and made_with.get("cut_rows"):
        made_with["over_cutoff"] = "published"
    for name in ("cutoff", "packing", "neat_packing", *training.scale.rules()):
        wanted, made = getattr(training.scale, name), made_with.get(name)
        if made is not None and wanted != made:
            raise UserError(f"the data was tokenised with {name} {made}, the scale says {wanted}: tokenise it again.")


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
        "training %s on %d rows: %d steps (%d per epoch) of %d rows (%d processes, %d rows each)",
        training.name,
        training.statistics["packed_rows"],
        total,
        epoch,
        training.scale.global_batch,
        where.world,
        accumulation,
    )


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
        dtype=training.base.dtype or "bfloat16",  # measured as its base is
        max_model_len=training.base.max_model_len,
        engine_args=training.base.engine_args,
        licence=training.base.licence,
        training=made,
    )
    student.write(output)
    log.info("%s: %d steps, loss %.4f -> %.4f", output, made["steps"], made["first_loss"], made["last_loss"])
