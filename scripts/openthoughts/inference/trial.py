"""One short request to a hosted model, in the form in which jobs ask it: whether the server takes what they will send.

The answer is thrown away. It is paid for as any other, and counts in no budget.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass

from openthoughts.base.hashing import request_seed
from openthoughts.inference.client import Client
from openthoughts.inference.endpoints import Endpoint, server_name
from openthoughts.inference.job import Asking
from openthoughts.inference.pace import Limits
from openthoughts.inference.protocol import (
    Answer,
    EmptyAnswerError,
    FatalError,
    PassingError,
    RefusedError,
    Request,
    remedy,
)

MESSAGE = "Say hello."

FEW_TOKENS = 16
"""Most tokens of the answer; the Responses API takes no lower limit."""

CUT_SHORT = "Could not finish the message"
"""How OpenAI refuses what it has taken where a model thinks longer than it may."""

SECONDS = 120.0
"""So long the answer may take."""


@dataclass(frozen=True)
class Trial:
    """What came of a request that the server took."""

    model: str
    """The name of the model that answered, as the server gives it."""
    seconds: float
    has_text: bool
    usd: float | None
    """What it cost; None where the price or the tokens are not known."""


async def tried(asking: Asking, endpoint: Endpoint) -> Trial:
    """Send one request live, and a second one where the server wants more than ``FEW_TOKENS``.

    Raises ``FatalError``, with its remedy, where the server does not answer or refuses what is sent.
    """
    most = asking.sampling.max_tokens
    few = min(FEW_TOKENS, most)
    try:
        try:
            return await _sent(asking, endpoint, few)
        except RefusedError as error:
            if few == most or "token" not in str(error):
                raise
            return await _sent(asking, endpoint, most)
    except RefusedError as error:
        raise FatalError(f"{server_name(endpoint)} {error}", remedy(str(error))) from error
    except PassingError as error:
        is_its_state = re.match(r"\d{3}: ", str(error))
        what = "wait" if is_its_state else "check `base_url` of its entry of the catalog, and the network"
        raise FatalError(f"{server_name(endpoint)} does not answer ({error})", f"{what}, then run again") from error


async def _sent(asking: Asking, endpoint: Endpoint, max_tokens: int) -> Trial:
    """One request with a limit on the answer."""
    client = Client(
        endpoint,
        short(asking, max_tokens).settings(),
        Limits(concurrency=1, timeout=SECONDS),
        local=False,
        embeds=asking.embeds,
        form=asking.model.request_form(),
    )
    seed = request_seed(0, MESSAGE, 0)
    request = Request("", "", 0, seed, [{"role": "user", "content": MESSAGE}])
    start = time.monotonic()
    async with client:
        try:
            answer = await client.ask_once(request)
        except EmptyAnswerError:
            answer = Answer(text=None)
        except RefusedError as error:
            if CUT_SHORT not in str(error):
                raise
            answer = Answer(text=None)
    seconds = time.monotonic() - start
    counted = answer.prompt_tokens is not None
    model = str(answer.response.get("model") or endpoint.model_name)
    return Trial(model, seconds, bool(answer.text), asking.cost(answer) if counted else None)


def short(asking: Asking, max_tokens: int = FEW_TOKENS) -> Asking:
    """The same asking for answers of at most so many tokens."""
    most = min(max_tokens, asking.sampling.max_tokens)
    return dataclasses.replace(asking, sampling=asking.sampling.changed(max_tokens=most))
