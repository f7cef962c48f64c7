"""Where a training runs, and how its nodes find each other."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from openthoughts.base.cli import UserError


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
            f"training on {nodes} nodes needs one task per node, and this is one of {tasks or 'no'} tasks: start it "
            f"with srun --nodes {nodes} --ntasks {nodes} --ntasks-per-node 1."
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
