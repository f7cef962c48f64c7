"""Short requests to a hosted model, in the form in which jobs ask it: whether the server takes what they will send.

The answers are thrown away. They are paid for as any other, and count in no budget.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from openthoughts.base.hashing import request_seed
from openthoughts.inference.client import Client
from openthoughts.inference.endpoints import Endpoint, server_name
from openthoughts.inference.finish import ENDS, plain
from openthoughts.inference.job import Asking
from openthoughts.inference.pace import Limits
from openthoughts.inference.protocol import (
    Answer,
    EmptyAnswerError,
    FatalError,
    PassingError,
    RefusedError,
    Request,
    change_of,
    remedy,
)
from openthoughts.inference.structured import Form, Unreadable, read_answer
from openthoughts.models.request_form import LIMITS, RequestForm

MESSAGE = "Say hello."

FEW_TOKENS = 16
"""Most tokens of the answer; the Responses API takes no lower limit."""

CUT_SHORT = "Could not finish the message"
"""How OpenAI refuses what it has taken where a model thinks longer than it may."""

SECONDS = 120.0
"""So long the answer may take."""

MOST_REQUESTS = 6
"""So many requests are sent in one form at most, each with what the one before it was refused for changed."""

Change = dict[str, Any]
"""A part of a model's ``request`` block."""


@dataclass(frozen=True)
class Trial:
    """What came of a request that the server took."""

    model: str
    """The name of the model that answered, as the server gives it."""
    seconds: float
    has_text: bool
    ignores_schema: bool
    """Whether a schema was sent, and the answer is whole and holds no JSON object."""
    usd: float | None
    """What it cost; None where the price or the tokens are not known."""


@dataclass(frozen=True)
class Outcome:
    """What came of asking a model in one form."""

    refusals: tuple[str, ...]
    """What the server refused and a change of the form answers."""
    changes: tuple[Change, ...]
    """These changes."""
    end: Trial | FatalError | None
    """What came of the last request, with all changes; null where the requests were used up before."""


async def tried(asking: Asking, endpoint: Endpoint) -> Outcome:
    """Send requests live, ``MOST_REQUESTS`` at most, until the server takes one or says what no change answers.

    A refusal that names what to leave out or to rename is followed by a request with that change, one for want of
    tokens by one with the jobs' own limit.
    """
    most = asking.sampling.max_tokens
    few = min(FEW_TOKENS, most)
    form = asking.model.request_form()
    refusals: list[str] = []
    changes: list[Change] = []
    for _ in range(MOST_REQUESTS):
        try:
            return Outcome(tuple(refusals), tuple(changes), await _sent(asking, endpoint, few, form))
        except PassingError as error:
            return Outcome(tuple(refusals), tuple(changes), _passing(error, endpoint))
        except (RefusedError, FatalError) as error:
            end = error if isinstance(error, FatalError) else _refused(error, endpoint)
            wants_more = few < most and isinstance(error, RefusedError) and "token" in str(error)
        change = change_of(end.found) if end.remedy == remedy(end.found) else {}
        changed = applied(form, change)
        if wants_more and (changed == form or set(LIMITS) & set(change.get("omit", ()))):
            few = most
        elif changed == form:
            return Outcome(tuple(refusals), tuple(changes), end)
        else:
            refusals.append(end.found.removeprefix(f"{server_name(endpoint)} " if refusals else ""))
            changes.append(change)
            form = changed
    return Outcome(tuple(refusals), tuple(changes), None)


def applied(form: RequestForm, change: Change) -> RequestForm:
    """A form with a change of what is sent in it; the form itself where the change makes no other one.

    The change names keys as they are sent, so under the names that the form gives them.
    """
    own_names = {name: key for key, name in form.rename.items()}
    omit = [own_names.get(key, key) for key in change.get("omit", ()) if key not in form.add]
    named = {own_names.get(key, key): name for key, name in change.get("rename", {}).items()}
    try:
        return form.changed(
            api=change.get("api", form.api),
            omit=tuple(dict.fromkeys([*form.omit, *omit])),
            rename={key: name for key, name in {**form.rename, **named}.items() if key not in omit},
            add={key: value for key, value in form.add.items() if key not in change.get("omit", ())},
        )
    except ValidationError:
        return form


def _refused(error: RefusedError, endpoint: Endpoint) -> FatalError:
    return FatalError(f"{server_name(endpoint)} {error}", remedy(str(error)))


def _passing(error: PassingError, endpoint: Endpoint) -> FatalError:
    is_its_state = re.match(r"\d{3}: ", str(error))
    what = "wait" if is_its_state else "check `base_url` of its entry of the catalog, and the network"
    return FatalError(f"{server_name(endpoint)} does not answer ({error})", f"{what}, then run again")


async def _sent(asking: Asking, endpoint: Endpoint, max_tokens: int, form: RequestForm) -> Trial:
    """One request with a limit on the answer."""
    client = Client(
        endpoint,
        short(asking, max_tokens).settings(),
        Limits(concurrency=1, timeout=SECONDS),
        local=False,
        embeds=asking.embeds,
        form=form,
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
    ignores_schema = asking.schema is not None and _has_schema(form) and _is_whole_without_an_object(answer)
    return Trial(model, seconds, bool(answer.text), ignores_schema, asking.cost(answer) if counted else None)


def _has_schema(form: RequestForm) -> bool:
    """Whether the schema of an asking is sent in a form."""
    return not {"response_format", "text"} & set(form.omit)


class AnyObject(Form):
    """Whatever JSON object."""


def _is_whole_without_an_object(answer: Answer) -> bool:
    """Whether an answer was not cut and holds no JSON object."""
    finish = (answer.finish_reason or "").lower()
    was_cut = ENDS.get(plain(finish), plain(finish)) == "length"
    return bool(answer.text) and not was_cut and isinstance(read_answer(AnyObject, answer.text or ""), Unreadable)


def short(asking: Asking, max_tokens: int = FEW_TOKENS) -> Asking:
    """The same asking for answers of at most so many tokens."""
    most = min(max_tokens, asking.sampling.max_tokens)
    return dataclasses.replace(asking, sampling=asking.sampling.changed(max_tokens=most))
