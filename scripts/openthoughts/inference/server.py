"""The server that answers for a model: a hosted API, one that runs already, or vLLM started for as long as it is used.

``engine(model, settings)`` gives an endpoint of the OpenAI-compatible protocol:

- a model of an API is asked where its provider serves it;
- a local model with an ``endpoint`` in its entry is asked at the server that the user keeps up;
- a server that ``OPENTHOUGHTS_SERVERS`` names is joined: ``{key digest of the model: {"base_url", "api_key",
  "model_name"}}``, as ``serve_model.py`` sets it for what it runs;
- else vLLM is started in its own environment, on loopback, on a free port, with a key made for the run, and taken
  down with everything it started, whatever happens.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import json
import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openthoughts.base import environments
from openthoughts.base.cli import UserError
from openthoughts.base.processes import Objection, Process
from openthoughts.models.model import Model

SERVERS_VARIABLE = "OPENTHOUGHTS_SERVERS"
LOOPBACK = "127.0.0.1"
START_TRIES = 3
"""Starts of an engine that finds its port taken by another program in the meantime."""
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


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked."""

    base_url: str
    api_key: str = field(repr=False)
    model_name: str
    """The model's name in requests."""
    failure: Callable[[], str | None] = field(default=lambda: None, compare=False, repr=False)
    """Why the server is dead (one sentence), None while it lives: cheap for an own server, a request for others."""

    def alive(self) -> bool:
        """Whether the server still answers; False is for good."""
        return self.failure() is None

    def check(self) -> None:
        """Raise ``UserError`` with the reason where the server is dead."""
        reason = self.failure()
        if reason is not None:
            raise UserError(reason)


@contextmanager
def unlimited(_gpus: int) -> Iterator[Objection]:
    """Let an engine run for as long as it is wanted."""
    yield lambda: None


@contextmanager
def engine(
    model: Model, settings: EngineSettings, running: Callable[[int], AbstractContextManager[Objection]] = unlimited
) -> Iterator[Endpoint]:
    """An endpoint that answers for a model, for as long as the context lasts.

    ``running`` is entered with the number of GPUs for as long as an engine is there that was started here; what it
    yields can end the wait for the engine.

    Raises ``UserError`` where a key is missing, a server that the user keeps does not answer, or the engine cannot be
    started (its log goes to standard error, the reason in one sentence is the error).
    """
    found = hosted(model) or kept(model, settings) or joined(model)
    if found is not None:
        yield found
        return
    with running(settings.gpus) as objection, started(model, settings, objection) as endpoint:
        yield endpoint


def hosted(model: Model) -> Endpoint | None:
    """The endpoint of an API's model; None for a local one. Raises ``UserError`` where its key is missing."""
    if model.local:
        return None
    assert model.base_url is not None and model.api_model is not None
    return Endpoint(model.base_url, api_key(model), model.api_model)


def kept(model: Model, settings: EngineSettings) -> Endpoint | None:
    """The server that the user keeps up for a local model; None where its entry names none."""
    if settings.endpoint:
        model = dataclasses.replace(model, **json.loads(settings.endpoint))
    if not model.base_url:
        return None
    endpoint = with_probe(model.base_url, api_key(model), model.api_model or model.name)
    reason = endpoint.failure()
    if reason is not None:
        raise UserError(f"{model.name}: {reason}; start it, or remove `endpoint` from the model's entry.")
    return endpoint


def joined(model: Model) -> Endpoint | None:
    """The running server that ``OPENTHOUGHTS_SERVERS`` names for a model; None where there is none that answers."""
    named = running_servers().get(model.key_digest())
    if named is None:
        return None
    endpoint = with_probe(named["base_url"], named["api_key"], named["model_name"])
    reason = endpoint.failure()
    if reason is None:
        return endpoint
    log.warning("%s: %s; starting one for this job", model.name, reason)
    return None


def running_servers() -> dict[str, dict[str, str]]:
    """The servers that ``OPENTHOUGHTS_SERVERS`` names, by the key digest of their models."""
    try:
        servers = json.loads(os.environ.get(SERVERS_VARIABLE) or "{}")
        return {
            key: {name: str(it[name]) for name in ("base_url", "api_key", "model_name")} for key, it in servers.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{SERVERS_VARIABLE} is not what serve_model.py sets: unset it.") from error


def api_key(model: Model) -> str:
    """The key of a model's server, from the environment. Raises ``UserError`` where it is named and not set."""
    if not model.api_key_variable:
        return "none"
    key = os.environ.get(model.api_key_variable, "").strip()
    if not key:
        raise UserError(f"{model.name} needs a key: set the environment variable {model.api_key_variable}.")
    return key


def with_probe(base_url: str, key: str, model_name: str) -> Endpoint:
    """The endpoint of a server that someone else runs; whether it lives is asked by a request."""

    def failure() -> str | None:
        reason: str | None = None
        for attempt in range(3):
            time.sleep(attempt)
            reason = probe(base_url, key, model_name)
            if reason is None:
                return None
        return reason

    return Endpoint(base_url, key, model_name, failure)


def probe(base_url: str, key: str, model_name: str, timeout: float = 10.0) -> str | None:
    """Ask a server for its models: None where it serves ``model_name`` to this key, else what is wrong."""
    request = urllib.request.Request(
        base_url.rstrip("/") + "/models", headers={"Authorization": f"Bearer {key}", "User-Agent": "openthoughts"}
    )
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(base_url) else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
            served = [entry["id"] for entry in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        return f"the server at {base_url} answers with status {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"the server at {base_url} does not answer ({type(error).__name__})"
    except (ValueError, KeyError, TypeError):
        return f"the server at {base_url} does not speak the OpenAI protocol"
    return None if model_name in served else f"the server at {base_url} serves {', '.join(served)}, not {model_name}"


def is_loopback(base_url: str) -> bool:
    """Whether an address is this machine's own, which no proxy reaches."""
    return bool(re.match(r"https?://(127\.|localhost|\[::1\])", base_url))


@contextmanager
def started(model: Model, settings: EngineSettings, objection: Objection) -> Iterator[Endpoint]:
    """vLLM for one model, ready; it is gone, with everything it started, when the context ends."""
    environment = environments.find("vllm-cpu" if settings.accelerator == "cpu" else "vllm")
    for attempt in range(1, START_TRIES + 1):
        server = Server(model, settings, environment)
        try:
            server.wait_ready(objection)
        except PortTakenError:
            server.stop()
            if attempt == START_TRIES:
                raise UserError(
                    f"the engine of {model.name} found its port taken {attempt} times: run again."
                ) from None
            continue
        except BaseException:
            server.stop()
            raise
        break
    try:
        yield Endpoint(server.base_url, server.api_key, model.name, server.failure)
    finally:
        reason = server.failure()
        if reason is not None:
            server.show_log()
            log.error("%s", reason)
        server.stop()


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

    def wait_ready(self, objection: Objection) -> None:
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
            reason = objection()
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
    return environment.command("vllm", "serve", str(model.weights), *arguments, *shlex.split(settings.engine_args))


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


PORT_TAKEN = "its port is taken by another program: run again"
DIAGNOSES: tuple[tuple[str, str], ...] = (
    (r"(?i:address already in use)|EADDRINUSE", PORT_TAKEN),
    (
        r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks|can't allocate memory"
        r"|Cannot allocate memory|MemoryError|less than desired (?:GPU|CPU) memory|less than requested memory for kv"
        r"|larger than the available KV cache memory|bad_alloc",
        "it ran out of memory: give it more GPUs (tensor parallel) or memory, or a smaller max_model_len",
    ),
    (
        r"[Cc]annot find any model weights|No such file or directory: '[^']*\.safetensors|not a local folder"
        r"|Error while deserializing header|SafetensorError|incomplete metadata",
        "its weights are missing or cut short: delete its model.json and weights and fetch the model again",
    ),
    (
        r"are not supported for now|does not recognize this architecture|has no vLLM implementation"
        r"|Model architectures \[[^\]]*\] (?:are not supported|failed to be inspected)",
        "this version of vLLM does not know its architecture: choose another model",
    ),
    (r"greater than the derived max_model_len", "its max_model_len is more than it was made for: lower it"),
    (
        r"must be divisible by tensor parallel|divisible by tensor_parallel|is not divisible by the number of GPUs",
        "its attention heads cannot be shared by so many GPUs: choose another tensor parallel size",
    ),
    (
        r"Failed to infer device type|No CUDA GPUs are available|found no NVIDIA driver|NVML Shared Library Not Found",
        "there is no GPU on this machine: set accelerator to cpu, or ask the scheduler for a GPU",
    ),
    (r"unrecognized arguments: (?P<what>.+)", "vLLM does not know the argument {what}: correct the engine arguments"),
)
"""What an engine's log says when it fails, and the reason and remedy in a few words; the first that fits counts."""


def diagnose(text: str, status: int) -> str:
    """Why an engine ended with ``status``, by the end of its log."""
    for pattern, reason in DIAGNOSES:
        found = re.search(pattern, text)
        if found:
            return reason.format(**{key: value.strip() for key, value in found.groupdict().items()})
    if status == 137:
        return "it was killed, most likely for memory: give the job more memory"
    if status > 128:
        return f"it was ended by signal {status - 128}"
    errors = re.findall(
        r"^(?:\([^)]*\)\s*)?(?:ERROR .*?\]\s*)?((?:\w+\.)*\w*(?:Error|Exception): .+)$", text, re.MULTILINE
    )
    return f"{errors[-1].strip()[:300]} (its log is above)" if errors else f"exit status {status} (its log is above)"
