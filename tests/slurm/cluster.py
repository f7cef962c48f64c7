"""A real SLURM cluster of virtual nodes on this one machine, without systemd or cgroups.

Two CPU nodes (c1, c2) and two GPU nodes (g1, g2) of production size, as far as they declare: 64 cores, 512 GB and 8
counted GPUs each. What jobs really have is this machine.

``python -m tests.slurm.cluster up`` and ``... down`` start and stop it by hand, for a look around with ``squeue``.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

MARKER = "# Written by openthoughts-snakemake's tests for a virtual cluster."
CONFIGURATION = Path("/etc/slurm/slurm.conf")
GPU_CONFIGURATION = Path("/etc/slurm/gres.conf")
HOSTS = Path("/etc/hosts")
STATE = Path("/var/tmp/openthoughts-virtual-cluster")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CPU_NODES = ("c1", "c2")
GPU_NODES = ("g1", "g2")
NODES = (*CPU_NODES, *GPU_NODES)
CORES, MEMORY_MB, GPUS, GPU_TYPE = 64, 512_000, 8, "a100"
CONTROLLER_PORT, FIRST_NODE_PORT = 26817, 27001

SLURM_CONF = """{marker}
ClusterName=virtual
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/node.%n
SlurmctldPidFile={state}/controller/slurmctld.pid
SlurmdPidFile={state}/node.%n/slurmd.pid
SlurmctldLogFile={state}/log/slurmctld.log
SlurmdLogFile={state}/log/slurmd.%n.log
# No cgroups here: a job is its process group, memory is looked at once a second.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
# Nodes have what they declare, not what the machine has.
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=50000,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
KillWait=3
OverTimeLimit=0
InactiveLimit=0
SlurmctldTimeout=20
SlurmdTimeout=20
# squeue shows the end of a job for longer than the executor's longest poll.
MinJobAge=900
JobRequeue=0
RebootProgram=/bin/true
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=c[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[27001-27002] {size} State=UNKNOWN
NodeName=g[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[27003-27004] {size} Gres=gpu:{type}:{gpus} State=UNKNOWN
PartitionName=normal Nodes=c[1-2] Default=YES MaxTime=2-00:00:00 DefaultTime=10 State=UP
PartitionName=accelerated Nodes=g[1-2] MaxTime=2-00:00:00 DefaultTime=10 State=UP
"""


class ClusterError(RuntimeError):
    """The virtual cluster cannot be had here; the message says why."""


def obstacle() -> str | None:
    """Why the cluster cannot be started on this machine, None where it can."""
    if os.geteuid() != 0:
        return "a virtual cluster writes /etc/slurm: only root can start it"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not installed: .ci/run installs munge and SLURM"
    if CONFIGURATION.exists() and not CONFIGURATION.read_text().startswith(MARKER):
        return f"{CONFIGURATION} is not this project's: a machine that belongs to a real cluster is left alone"
    return None


class VirtualCluster:
    """The cluster's daemons; used as a context it is up inside and leaves nothing behind."""

    def __init__(self, state: Path = STATE) -> None:
        self.state = state
        self.pids = state / "pids"

    def __enter__(self) -> VirtualCluster:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Start what does not run, from nothing in a few seconds. Raises ``ClusterError`` where that is impossible."""
        reason = obstacle()
        if reason:
            raise ClusterError(reason)
        for folder in ("pids", "log", "controller", "devices", *(f"node.{node}" for node in NODES)):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o755)
        self._start_munge()
        self._name_hosts()
        self._write_configuration()
        self.start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        _wait("the controller", 30, lambda: _ok("scontrol", "ping"))
        _wait("the nodes", 60, lambda: set(self.node_states().values()) <= {"idle", "mixed", "allocated"})

    def down(self) -> None:
        """Cancel every job, stop exactly the daemons that were started here, and remove what was written."""
        if not self.state.exists():
            return
        if self._alive("slurmctld"):
            for flags in (("--full",), ()):
                subprocess.run(["scancel", *flags, "-u", getpass.getuser()], capture_output=True, check=False)
            with contextlib.suppress(ClusterError):
                _wait("the jobs' end", 30, lambda: not self.active_jobs())
        for path in sorted(self.pids.glob("*"), key=lambda path: ("slurmd" not in path.name, path.name != "slurmctld")):
            self.stop(path.name)
        if CONFIGURATION.exists() and CONFIGURATION.read_text().startswith(MARKER):
            CONFIGURATION.unlink()
            GPU_CONFIGURATION.unlink(missing_ok=True)
        if HOSTS.exists() and MARKER in HOSTS.read_text():
            # Rewritten in place: in a container the file may be a mount, which cannot be replaced.
            HOSTS.write_text("".join(line for line in HOSTS.read_text().splitlines(True) if MARKER not in line))
        shutil.rmtree(self.state, ignore_errors=True)

    def start(self, name: str, *command: str) -> None:
        """Start a daemon unless it runs; its number is kept in a file."""
        if self._alive(name):
            return
        with (self.state / "log" / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        (self.pids / name).write_text(str(process.pid))

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a daemon and wait until it is gone."""
        path = self.pids / name
        if self._alive(name):
            pid = int(path.read_text())
            os.kill(pid, number)
            try:
                _wait(name, 10, lambda: not self._alive(name))
            except ClusterError:
                os.kill(pid, signal.SIGKILL)
                _wait(name, 10, lambda: not self._alive(name))
        path.unlink(missing_ok=True)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self.start(f"slurmd.{node}", "slurmd", "-D", "-N", node)

    def lose_node(self, node: str) -> None:
        """A node goes away at once with everything on it, and the controller is told."""
        self.stop(f"slurmd.{node}", signal.SIGKILL)
        jobs = {job["JobId"] for job in self.jobs() if job.get("NodeList") == node and job["JobState"] == "RUNNING"}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                step = re.match(r"slurmstepd: \[(\d+)\.", " ".join(process.cmdline()))
                if (step and step[1] in jobs) or process.environ().get("SLURM_JOB_ID") in jobs:
                    process.kill()
        _run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def find_node(self, node: str) -> None:
        """A lost node comes back, and takes jobs on return."""
        self.start_node(node)
        # ReturnToService=2 resumes it once its daemon has registered; resumed by hand it would get jobs before that.
        _wait(node, 120, lambda: self.node_states()[node] in {"idle", "mixed", "allocated"})

    def node_states(self) -> dict[str, str]:
        """State of every node, by name."""
        lines = _output("sinfo", "-h", "-N", "-o", "%N %T").split("\n")
        return dict(line.split() for line in lines if line)

    def active_jobs(self) -> list[str]:
        """Numbers of the jobs that have not ended."""
        return _output("squeue", "-h", "-o", "%A").split()

    def jobs(self) -> list[dict[str, str]]:
        """SLURM's record of every job that it still knows, by its fields (``JobState``, ``Comment``, ``TRES``, ...).

        Fields of ``scontrol show job`` hold no blanks, but for the comment's, which is the last one that may.
        """
        records = []
        for block in _output("scontrol", "--oneliner", "show", "job", "--all").split("\n"):
            fields: dict[str, str] = {}
            for part in block.split():
                key, equals, value = part.partition("=")
                if equals:
                    fields[key] = value
            if "JobId" in fields:
                records.append(fields)
        return records

    def _alive(self, name: str) -> bool:
        path = self.pids / name
        if not path.exists():
            return False
        pid = int(path.read_text())
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return name.split(".")[0].encode() in command

    def _start_munge(self) -> None:
        key = Path("/etc/munge/munge.key")
        if not key.exists():
            key.write_bytes(os.urandom(128))
            shutil.chown(key, "munge", "munge")
            key.chmod(0o400)
        run = Path("/run/munge")
        run.mkdir(exist_ok=True)
        shutil.chown(run, "munge", "munge")
        if not _ok("munge", "-n"):
            self.start("munged", "runuser", "-u", "munge", "--", "munged", "--foreground")
            _wait("munge", 20, lambda: _ok("munge", "-n"))

    def _name_hosts(self) -> None:
        """Let the nodes' names be found: training meets at the first node of a job, by its name."""
        lines = HOSTS.read_text()
        names = {name for line in lines.splitlines() for name in line.partition("#")[0].split()[1:]}
        missing = [name for name in (_host(), *NODES) if name not in names]
        if missing:
            HOSTS.write_text(lines + "".join(f"127.0.0.1 {name} {MARKER}\n" for name in missing))

    def _write_configuration(self) -> None:
        devices = []
        for number in range(GPUS):
            device = self.state / "devices" / f"gpu{number}"
            if not device.exists():
                os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            devices.append(device)
        CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
        size = f"CPUs={CORES} RealMemory={MEMORY_MB}"
        CONFIGURATION.write_text(
            SLURM_CONF.format(
                marker=MARKER,
                host=_host(),
                port=CONTROLLER_PORT,
                state=self.state,
                size=size,
                type=GPU_TYPE,
                gpus=GPUS,
            )
        )
        files = f"{devices[0]}".removesuffix("0") + f"[0-{GPUS - 1}]"
        GPU_CONFIGURATION.write_text(f"{MARKER}\nNodeName=g[1-2] Name=gpu Type={GPU_TYPE} File={files}\n")


def _host() -> str:
    return os.uname().nodename.split(".")[0]


def _ok(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)


def _wait(what: str, seconds: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(subprocess.CalledProcessError, KeyError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not seen within {seconds:g} s")
        time.sleep(0.2)


def main() -> int:
    """``up`` or ``down``."""
    cluster = VirtualCluster()
    if sys.argv[1:] == ["up"]:
        cluster.up()
        print(json.dumps(cluster.node_states()))
        return 0
    if sys.argv[1:] == ["down"]:
        cluster.down()
        return 0
    print("usage: python -m tests.slurm.cluster up|down", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
