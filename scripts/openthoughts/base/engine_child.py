"""Running LLaMA-Factory as a child process: its variables, its messages, and its end."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence

from openthoughts.base.cli import UserError
from openthoughts.base.environments import Environment
from openthoughts.base.processes import Process

REFUSED = 3
"""Exit status of a child whose last line is the sentence for the user."""

ACCELERATORS = ("cpu", "cuda")

ERROR = re.compile(r"(\[rank\d+\]: )?[\w.]*(Error|Exception|Interrupt): ")
"""The last line of a Python traceback."""


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


def run_engine(command: Sequence[str], variables: Mapping[str, str], what: str) -> None:
    """Run a child to its end, passing its messages on; it never outlives this process.

    Raises ``UserError`` where the child fails.
    """
    tail: deque[str] = deque(maxlen=200)
    reading, writing = os.pipe()
    # Without grace: a killed training writes no more, so that its restart finds the folder at rest.
    child = Process(command, variables=variables, output=writing, grace=0.0)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as messages:
            for line in messages:
                sys.stderr.write(line)
                tail.append(line.strip())
        status = child.wait()
    finally:
        child.stop()
    if status:
        raise UserError(failure(status, what, list(tail)))


def failure(status: int, what: str, messages: Sequence[str]) -> str:
    """The sentence for a child that failed: its own where it refused, else how it ended."""
    last = next((line for line in reversed(messages) if line), "it said nothing")
    if status == REFUSED:
        return last
    if status == 128 + signal.SIGKILL or any("(exitcode: -9)" in line for line in messages):
        return f"{what} was killed, most likely for want of memory: give it more and run again, it goes on."
    errors = [line for line in messages if ERROR.match(line)]
    # torchrun has an error of its own for a process that failed; the first one is the cause.
    return f"{what} failed with status {status}, the messages above say why: {(errors or [last])[0][:300]}"
