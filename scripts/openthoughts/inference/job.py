"""An inference job: the requests, the model, how it is asked, and the arguments that say so."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from openthoughts.inference.batch_api import MOST_REQUESTS
from openthoughts.inference.pace import Limits
from openthoughts.inference.prompts import Messages
from openthoughts.inference.protocol import PAID_BEFORE, Answer
from openthoughts.inference.sampling import Sampling
from openthoughts.inference.structured import ResponseSchema
from openthoughts.inference.vllm import EngineSettings, add_engine_arguments
from openthoughts.models.model import Model
from openthoughts.models.price import Price
from openthoughts.store.keys import KeyMaker, model_partition

NOT_SAMPLED = Sampling(temperature=0.0, max_tokens=1)
"""Placeholder for embeddings, where nothing is sampled: one costs no more than a token beside its text."""


class Prompted(NamedTuple):
    """One answer that a stage wants."""

    question_id: str
    sample: int
    seed: int
    messages: Messages
    benchmark: str = ""


@dataclass(frozen=True)
class Asking:
    """Whom to ask, how, and what of it may go wrong."""

    model: Model
    store: Path
    sampling: Sampling
    schema: ResponseSchema | None = None
    embeds: bool = False
    """Asks for embeddings of the messages, not for answers to them."""
    limits: Limits = field(default_factory=Limits)
    engine: EngineSettings = field(default_factory=EngineSettings)
    max_failed: float = 0.01
    lease_wait: float = 600.0
    grace: float = 20.0
    price: Price | None = None
    budget_usd: float = 0.0
    """Dollars that all answers of the store together may cost; 0 is no cap."""
    budget_gpu_hours: float = 0.0
    """GPU-hours that all engines of the store's clients together may use; 0 is no cap."""
    mode: str = "live"
    """``live``, or ``batch`` for the Batch API of a hosted model."""
    batch_poll: float = 60.0
    batch_requests: int = MOST_REQUESTS
    from_store: bool = False
    """Send no requests: write what is complete in the store and leave the rest."""

    @property
    def model_id(self) -> str:
        """The model's partition of the store."""
        return model_partition(self.model.key())

    @property
    def in_batches(self) -> bool:
        """Whether the Batch API is asked."""
        return self.mode == "batch"

    def key_maker(self) -> KeyMaker:
        """What gives the store's key of each request."""
        schema = dict(self.schema.schema) if self.schema is not None else None
        sampling = {"task": "embed"} if self.embeds else self.sampling.key()
        return KeyMaker(self.model.key(), sampling, schema)

    def settings(self) -> dict[str, Any]:
        """The body of every request but for model, messages and seed."""
        if self.embeds:
            return {"encoding_format": "base64"}
        modern = not self.model.local and "api.openai.com" in (self.model.base_url or "")
        settings = self.sampling.body(self.model.local, self.model.max_model_len, modern)
        if self.schema is not None:
            settings["response_format"] = self.schema.response_format()
        return settings

    def cost(self, answer: Answer) -> float | None:
        """What an answer cost, by the tokens that the server counted; None where its price is not known."""
        if self.price is None:
            return None
        before = answer.response.get(PAID_BEFORE, (0, 0))
        tokens = ((answer.prompt_tokens or 0) + before[0], (answer.completion_tokens or 0) + before[1])
        return self.price.of(*tokens, self.in_batches)


def add_arguments(parser: argparse.ArgumentParser, sampled: bool = True) -> None:
    """Add the arguments that every script which asks a model has; without sampling where nothing is ``sampled``."""
    group = parser.add_argument_group("asking")
    group.add_argument("--model", type=Path, required=True, help="model.json of the model to ask")
    if sampled:
        group.add_argument("--sampling", required=True, help="sampling settings (JSON)")
        group.add_argument("--seed", type=int, required=True, help="seed from which each request's own is derived")
    group.add_argument("--store", type=Path, required=True, help="folder of the completion store")
    group.add_argument("--max-failed", type=float, default=0.01, help="share of answers that may fail for good")
    group.add_argument("--concurrency", type=int, default=32, help="requests in flight")
    group.add_argument("--requests-per-minute", type=float, default=0, help="limit of this client (0: none)")
    group.add_argument("--tokens-per-minute", type=float, default=0, help="limit of this client (0: none)")
    group.add_argument("--timeout", type=float, default=3600, help="seconds that one answer may take")
    group.add_argument("--lease-wait", type=float, default=600, help="seconds to wait for another writer of the shard")
    group.add_argument("--grace", type=float, default=20, help="seconds that a signal leaves to what is in flight")
    group.add_argument(
        "--price", default="", help='dollars per million tokens: {"input": .., "output": .., "batch": ..}'
    )
    group.add_argument("--budget-usd", type=float, default=0, help="what all answers of the store may cost (0: no cap)")
    group.add_argument("--budget-gpu-hours", type=float, default=0, help="what all engines may use (0: no cap)")
    group.add_argument("--mode", choices=["live", "batch"], default="live", help="batch: the API's Batch mode")
    group.add_argument("--batch-poll", type=float, default=60, help="seconds between looks at running batches")
    group.add_argument("--batch-requests", type=int, default=MOST_REQUESTS, help="most requests of one batch")
    group.add_argument("--from-store", action="store_true", help="send no requests: write what is whole in the store")
    add_engine_arguments(parser)


def read_asking(
    options: argparse.Namespace,
    schema: ResponseSchema | None = None,
    embeds: bool = False,
    model: Model | None = None,
) -> Asking:
    """What ``add_arguments`` read from the command line; ``model`` where it is known without its ``model.json``."""
    return Asking(
        model=model or Model.read(options.model),
        store=options.store,
        sampling=NOT_SAMPLED if embeds else Sampling.parse(options.sampling),
        schema=schema,
        embeds=embeds,
        limits=Limits(
            concurrency=max(1, options.concurrency),
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
            timeout=options.timeout,
        ),
        engine=EngineSettings.of(options),
        max_failed=options.max_failed,
        lease_wait=options.lease_wait,
        grace=options.grace,
        price=Price.parse(options.price),
        budget_usd=options.budget_usd,
        budget_gpu_hours=options.budget_gpu_hours,
        mode=options.mode,
        batch_poll=options.batch_poll,
        batch_requests=options.batch_requests,
        from_store=options.from_store,
    )
