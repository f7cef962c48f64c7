"""vLLM as a child process: its settings, its command line and environment variables, and its life from start to end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openthoughts.base import environments
from openthoughts.base.cli import UserError
from openthoughts.base.processes import Process, StopReason
from openthoughts.inference.diagnoses import PORT_TAKEN, diagnose
from openthoughts.inference.endpoints import SERVERS_VARIABLE, probe
from openthoughts.models.engine_arguments import changing
from openthoughts.models.model import Model

LOOPBACK = "127.0.0.1"

STOP_GRACE_SECONDS = 5.0
"""Time of an engine between SIGTERM and SIGKILL: there is nothing in it to lose."""

LOG_LINES = 40
"""Last lines of the engine's log that are shown when it fails."""

LONGEST_TEMPORARY_FOLDER = 42
"""Bytes: a socket's whole path has at most 107, of which the engine's folder and the socket's name take 65."""

CPU_BATCH_TOKENS = 4096

STRUCTURED_OUTPUTS = {"backend": "xgrammar", "disable_any_whitespace": True}
"""Small models pad JSON with blanks until they are cut off, unless the grammar allows none."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineSettings:
    """How an engine runs; nothing here changes what it answers."""

    accelerator: str = "cuda"
    """``cpu`` or ``cuda``: which of the environments vllm-cpu and vllm."""
    tensor_parallel: int = 1
    data_parallel: int = 1
    engine_args: str = ""
    """Further arguments of ``vllm serve``, as in a shell; they override those made here."""
    endpoint: str = ""
    """A server that the user keeps up, as JSON: ``base_url``, ``api_key_variable``, ``api_model``; none where empty."""
    cpu_cache_gib: int = 2
    """Memory for the keys and values of the requests in flight, on processors (GiB)."""
    start_seconds: float = 1800.0
    """Longest time from start to ready."""

    @property
    def gpus(self) -> int:
        """GPUs that the engine takes."""
        return 0 if self.accelerator == "cpu" else self.tensor_parallel * self.data_parallel

    @classmethod
    def of(cls, options: argparse.Namespace) -> EngineSettings:
        """The settings of the arguments that ``add_engine_arguments`` added."""
        return cls(
            accelerator=options.accelerator,
            tensor_parallel=options.tensor_parallel,
            data_parallel=options.data_parallel,
            engine_args=options.engine_args,
            endpoint=options.endpoint,
        )


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how an engine runs."""
    group = parser.add_argument_group("engine (nothing here changes the answers)")
    group.add_argument("--accelerator", choices=("cpu", "cuda"), default="cuda", help="what the engine runs on")
    group.add_argument(
        "--tensor-parallel", type=int, default=1, metavar="N", help="GPUs that share a copy of the model"
    )
    group.add_argument("--data-parallel", type=int, default=1, metavar="N", help="copies of the model")
    group.add_argument("--engine-args", default="", metavar="STR", help="further arguments of `vllm serve`")
    group.add_argument("--endpoint", default="", metavar="JSON", help="server that is kept up for a local model")


class PortTakenError(Exception):
    """Another program took the engine's port between the choice and its start."""


class Server:
    """A vLLM server and its log."""

    def __init__(self, model: Model, settings: EngineSettings, environment: environments.Environment) -> None:
        """Start it; ``wait_ready`` says when it answers."""
        self.model = model
        self.settings = settings
        self.port = free_port()
        self.api_key = secrets.token_urlsafe(24)
        self.base_url = f"http://{LOOPBACK}:{self.port}/v1"
        self.command = serve_command(model, settings, environment, self.port)
        self.folder = Path(tempfile.mkdtemp(prefix="openthoughts-", dir=short_temporary_folder()))
        self.log_path = self.folder / "engine.log"
        caches, of_this_run = cache_folder()
        self.folders = [self.folder, *([caches] if of_this_run else [])]
        variables = engine_variables(settings, environment, self.folder, caches) | {"VLLM_API_KEY": self.api_key}
        log.info("starting the engine of %s on port %d", model.name, self.port)
        self.began = time.monotonic()
        self.reason: str | None = None
        with self.log_path.open("wb") as output:
            self.process = Process(
                self.command, variables=variables, output=output, grace=STOP_GRACE_SECONDS, remove=self.folders
            )

    def wait_ready(self, stop_reason: StopReason) -> None:
        """Return once the server answers.

        Raises ``UserError`` where it ends, takes too long or must not go on, ``PortTakenError`` where its port is
        taken.
        """
        while time.monotonic() < self.began + self.settings.start_seconds:
            if self.process.poll() is not None:
                if diagnose(self.log_text(), 1) == PORT_TAKEN:
                    raise PortTakenError
                self.show_log()
                raise UserError(self.failure() or "the engine ended")
            if probe(self.base_url, self.api_key, self.model.name, timeout=2.0) is None:
                log.info("the engine of %s is ready after %.0f s", self.model.name, time.monotonic() - self.began)
                return
            reason = stop_reason()
            if reason is not None:
                raise UserError(reason)
            time.sleep(0.25)
        self.show_log()
        raise UserError(
            f"the engine of {self.model.name} was not ready in {self.settings.start_seconds:.0f} s, its log is above."
        )

    def failure(self) -> str | None:
        """Why it has ended, in one sentence; None while it runs."""
        status = self.process.poll()
        if status is not None and self.reason is None:
            self.reason = f"the engine of {self.model.name} has ended: {diagnose(self.log_text(), status)}"
        return self.reason

    def log_text(self) -> str:
        """The end of its log."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - 200_000))
                return file.read().decode(errors="replace").replace(self.api_key, "***")
        except OSError:
            return ""

    def show_log(self) -> None:
        """Write the last lines of its log to standard error."""
        lines = self.log_text().splitlines()[-LOG_LINES:]
        sys.stderr.write("".join(f"  | {line}\n" for line in lines))

    def stop(self) -> None:
        """End it and everything it started, and remove its files."""
        self.process.stop()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def serve_command(
    model: Model, settings: EngineSettings, environment: environments.Environment, port: int
) -> list[str]:
    """The command line of a model's server. Every sampling value comes with the request, none from the model folder."""
    options: dict[str, Any] = {
        "--host": LOOPBACK,
        "--port": port,
        "--served-model-name": model.name,
        "--dtype": model.dtype or "auto",
        "--max-model-len": model.max_model_len or "auto",
        "--generation-config": "vllm",
        "--structured-outputs-config": json.dumps(STRUCTURED_OUTPUTS),
    }
    if model.quantization:
        options["--quantization"] = model.quantization
    if settings.tensor_parallel > 1:
        options["--tensor-parallel-size"] = settings.tensor_parallel
    if settings.data_parallel > 1:
        options["--data-parallel-size"] = settings.data_parallel
    arguments = [str(part) for option in options.items() for part in option] + ["--disable-uvicorn-access-log"]
    if settings.accelerator == "cpu":
        # A seed of a request and chunked prefill together kill the engine on processors.
        arguments += ["--enforce-eager", "--no-enable-chunked-prefill"]
        arguments += ["--max-num-batched-tokens", str(max(CPU_BATCH_TOKENS, model.max_model_len or 0))]
    if (unkept := changing(settings.engine_args)) and unkept != model.engine_args:
        log.warning(
            "the engine runs with %s, and answers are kept as without: give what changes them as `engine_args` of the "
            "model's entry",
            unkept,
        )
    further = shlex.split(model.engine_args) + shlex.split(settings.engine_args)
    return environment.command("vllm", "serve", str(model.weights), *arguments, *further)


def engine_variables(
    settings: EngineSettings, environment: environments.Environment, temporary: Path, caches: Path
) -> dict[str, str]:
    """The environment variables of an engine: no hub, no usage statistics, its own temporary files, known caches."""
    variables = environment.variables()
    variables.pop(SERVERS_VARIABLE, None)
    variables |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TMPDIR": str(temporary),
        **cache_variables(caches),
    }
    if settings.accelerator == "cpu":
        wanted = {
            "VLLM_CPU_KVCACHE_SPACE": str(settings.cpu_cache_gib),
            # Engines side by side would all be bound to the same first cores.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # As vLLM sets them where it binds: idle threads soon leave their core to others.
            "KMP_BLOCKTIME": "5",
            "KMP_TPAUSE": "0",
        }
        variables |= {name: variables.get(name) or value for name, value in wanted.items()}
        variables["OMP_NUM_THREADS"] = str(engine_threads())
        preload = openmp_library(environment)
        if preload is not None:
            variables["LD_PRELOAD"] = ":".join(filter(None, [variables.get("LD_PRELOAD"), str(preload)]))
    return variables


def engine_threads() -> int:
    """Threads that compute, on processors: those of the job (``OMP_NUM_THREADS``, else all that it may use), less one.

    The one is for the server and the scheduler; without it they hold up every step of the computation.
    """
    own = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(own) if own.isdigit() else len(os.sched_getaffinity(0))) - 1)


def openmp_library(environment: environments.Environment) -> Path | None:
    """Intel's OpenMP library of an environment, which vLLM wants loaded first."""
    if environment.bin is None:
        return None
    path = environment.bin.parent / "lib" / "libiomp5.so"
    return path if path.is_file() else None


def cache_folder() -> tuple[Path, bool]:
    """Where engines keep compiled kernels and the like, and whether it is this run's alone.

    In a job with a scratch folder (``OPENTHOUGHTS_SCRATCH``, or SLURM's ``SLURM_TMPDIR``) a folder there for this run,
    removed with it; else one beside the environments, which makes the next start quicker.
    """
    scratch = os.environ.get("OPENTHOUGHTS_SCRATCH") or os.environ.get("SLURM_TMPDIR")
    if not scratch:
        return environments.environments_folder() / "cache", False
    job = os.environ.get("SLURM_JOB_ID", "local")
    return Path(scratch) / f"openthoughts-cache-{job}-{os.getpid()}", True


def cache_variables(root: Path) -> dict[str, str]:
    """The variables that put engines' caches below ``root``; what the user has set stays."""
    places = {
        "VLLM_CACHE_ROOT": "vllm",
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TORCH_EXTENSIONS_DIR": "torch-extensions",
        "CUDA_CACHE_PATH": "cuda",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    }
    return {name: os.environ.get(name) or str(root / place) for name, place in places.items()}


def short_temporary_folder() -> Path:
    """A folder for temporary files whose name is short enough for the engine's sockets."""
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) <= LONGEST_TEMPORARY_FOLDER else Path("/tmp")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe_socket:
        probe_socket.bind((LOOPBACK, 0))
        return int(probe_socket.getsockname()[1])
