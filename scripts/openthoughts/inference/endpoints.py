"""Where a model is asked: at a hosted API, at a server that the user keeps up, or at one that another job started."""

from __future__ import annotations

import dataclasses
import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from openthoughts.base.cli import UserError
from openthoughts.models.model import Model

SERVERS_VARIABLE = "OPENTHOUGHTS_SERVERS"

log = logging.getLogger(__name__)


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


def server_name(endpoint: Endpoint) -> str:
    """What a server is called in messages."""
    return f"the server of {endpoint.model_name} at {endpoint.base_url}"


def hosted(model: Model) -> Endpoint | None:
    """The endpoint of an API's model; None for a local one. Raises ``UserError`` where its key is missing."""
    if model.local:
        return None
    assert model.base_url is not None and model.api_model is not None
    return Endpoint(model.base_url, api_key(model), model.api_model)


def kept(model: Model, endpoint_json: str) -> Endpoint | None:
    """The server that the user keeps up for a local model; None where its entry names none."""
    if endpoint_json:
        model = dataclasses.replace(model, **json.loads(endpoint_json))
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
            key: {name: str(entry[name]) for name in ("base_url", "api_key", "model_name")}
            for key, entry in servers.items()
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
