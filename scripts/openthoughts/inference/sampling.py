"""The sampling settings of a request: every value is sent explicitly, so that no server's or model folder's default
slips in, and the same values are part of the completion store's key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from openthoughts.base.cli import UserError
from openthoughts.base.options import Options, problems, unless_default


class Sampling(Options):
    """Sampling settings, each sent explicitly; null is the default."""

    temperature: float = Field(1.0, ge=0, description="Sampling temperature.")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Nucleus sampling; null keeps the whole distribution (1.0), as published."
    )
    max_tokens: int = Field(16800, ge=1, description="Most tokens of an answer; the model's length bounds it further.")
    top_k: int = unless_default(0, ge=0, description="Sample only from this many of the likeliest tokens; 0 keeps all.")
    min_p: float = unless_default(
        0.0, ge=0, le=1, description="Tokens below this share of the likeliest one's probability are not sampled."
    )
    presence_penalty: float = unless_default(0.0, ge=-2, le=2, description="Penalty of tokens that were used already.")
    frequency_penalty: float = unless_default(0.0, ge=-2, le=2, description="The same, per use.")
    repetition_penalty: float = unless_default(
        1.0, gt=0, description="Factor that makes tokens of prompt and answer less likely."
    )
    stop: tuple[str, ...] = unless_default((), description="Texts that end an answer.")
    ignore_eos: bool = unless_default(
        False, description="Whether an answer goes on after its end, up to `max_tokens` (for measurements)."
    )
    reasoning_effort: str | None = unless_default(
        None, description="How much a hosted model reasons, such as low or high; null leaves that to the model."
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            nulls = {key: cls.model_fields[key].default for key in cls.model_fields if value.get(key, key) is None}
            return {**value, **nulls}
        return value

    @classmethod
    def parse(cls, text: str) -> Sampling:
        """Read the JSON of ``--sampling``; null values mean the default. Raises ``UserError`` naming what is wrong.

        ``temperature`` and ``max_tokens``, which the plan always writes, are required: money is not spent on a default.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UserError(f"--sampling must be a JSON object, not {text!r}.") from error
        if not isinstance(values, dict):
            raise UserError(f"--sampling must be a JSON object, not {text!r}.")
        missing = [name for name in ("temperature", "max_tokens") if values.get(name) is None]
        if missing:
            raise UserError(f"the sampling settings {text} lack {' and '.join(missing)}: add a number for each.")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            found = "; ".join(problems(cls, values))
            raise UserError(f"the sampling settings {text} cannot be used: {found}.") from error

    def key(self) -> dict[str, Any]:
        """What the store's key holds: the three values every request has, and what differs from the default."""
        return {**self.identity(), "top_p": 1.0 if self.top_p is None else self.top_p}

    def body(self, local: bool, max_model_len: int | None = None, modern: bool = False) -> dict[str, Any]:
        """The part of a request's body that holds the settings.

        A local server is sent vLLM's further settings too. ``max_tokens`` is left out where the model's length is the
        tighter limit anyway: vLLM refuses a prompt and ``max_tokens`` that together exceed it, and fills the length by
        itself when told nothing. ``modern`` names the limit as OpenAI does since it has models that reason.
        """
        body: dict[str, Any] = {"temperature": self.temperature, "top_p": 1.0 if self.top_p is None else self.top_p}
        if not (local and max_model_len is not None and self.max_tokens >= max_model_len):
            body["max_completion_tokens" if modern else "max_tokens"] = self.max_tokens
        optional = self.model_dump(mode="json", exclude={*body, "max_tokens"}, exclude_defaults=not local)
        if not self.stop:
            optional.pop("stop", None)
        if self.reasoning_effort is None:
            optional.pop("reasoning_effort", None)
        return {**body, **optional}


class EvaluationSampling(Sampling):
    """Sampling settings of an evaluation; the others are as in `sampling`."""

    temperature: float = Field(0.7, ge=0, description="Sampling temperature.")
    max_tokens: int = Field(32768, ge=1, description="Most tokens of an answer; the model's length bounds it further.")


class JudgeSampling(Sampling):
    """Sampling settings of a judge; the others are as in `sampling`."""

    temperature: float = Field(0.0, ge=0, description="Sampling temperature.")
    max_tokens: int = Field(1024, ge=1, description="Most tokens of a verdict.")


class WritingSampling(Sampling):
    """Sampling settings of a model that writes questions; the others are as in `sampling`."""

    max_tokens: int = Field(2048, ge=1, description="Most tokens of what is written.")
