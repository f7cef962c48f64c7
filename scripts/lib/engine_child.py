"""Running LLaMA-Factory as a child process: its variables, its messages, and its end."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence

from lib.cli import UserError
from lib.environments import Environment

REFUSED = 3
"""Exit status of a child whose last line is the sentence for the user."""

ACCELERATORS = ("cpu", "cuda")

log = logging.getLogger(__name__)


def engine_name(engine: str, accelerator: str) -> str:
    """The name of an engine's environment for an accelerator."""
    return engine if accelerator == "cuda" else f"{engine}-{accelerator}"


def engine_variables(environment: Environment, accelerator: str, threads: int) -> dict[str, str]:
    """Environment variables of a child: offline, quiet, on the accelerator that was asked for."""
    variables = environment.variables() | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "LLAMAFACTORY_VERBOSITY": "WARN",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",
        "OMP_NUM_THREADS": str(threads),
    }
    if accelerator == "cpu":
        variables |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    return variables


def run_engine(command: Sequence[str], variables: dict[str, str], what: str) -> None:
    """Run a child to its end, passing its messages on; whatever ends this process ends the child.

    Raises ``UserError`` where the child fails.
    """
    tail: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sys.stderr.write(line)
            tail.append(line.strip())
        status = child.wait()
    if not status:
        return
    last = next((line for line in reversed(tail) if line), "it said nothing")
    if status == REFUSED:
        raise UserError(last)
    if status < 0:
        reason = f"was ended by {signal.Signals(-status).name}" + (" (out of memory?)" if status == -9 else "")
        raise UserError(f"{what} {reason}: give it what it lacks and run again, it continues where it was.")
    raise UserError(f"{what} failed with status {status}, its messages are above, the last one is: {last[:300]}")
