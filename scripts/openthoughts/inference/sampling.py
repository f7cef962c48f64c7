"""The sampling settings of a request: every value is sent explicitly, so that no server's or model folder's default
slips in, and the same values are part of the completion store's key.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openthoughts.base.cli import UserError


class Sampling(BaseModel):
    """How answers are drawn. ``top_p`` null means that the whole distribution is kept (1.0)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(ge=0)
    max_tokens: int = Field(gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0, le=1)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = Field(default=1.0, gt=0)
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    reasoning_effort: str | None = None

    @classmethod
    def parse(cls, text: str) -> Sampling:
        """Read the JSON of ``--sampling``; null values mean the default. Raises ``UserError`` naming what is wrong."""
        try:
            values = json.loads(text)
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise UserError(f"the sampling settings {text} cannot be used: {problems}.") from error
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"--sampling must be a JSON object, not {text!r}.") from error

    def key(self) -> dict[str, Any]:
        """What the store's key holds: the three values every request has, and what differs from the default."""
        always = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return {**self.model_dump(mode="json", exclude_defaults=True), **always}

    def body(self, local: bool, max_model_len: int | None = None, modern: bool = False) -> dict[str, Any]:
        """The part of a request's body that holds the settings.

        A local server is sent vLLM's further settings too. ``max_tokens`` is left out where the model's length is the
        tighter limit anyway: vLLM refuses a prompt and ``max_tokens`` that together exceed it, and fills the length by
        itself when told nothing. ``modern`` names the limit as OpenAI does since it has models that reason.
        """
        body: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p}
        if not (local and max_model_len is not None and self.max_tokens >= max_model_len):
            body["max_completion_tokens" if modern else "max_tokens"] = self.max_tokens
        optional = self.model_dump(mode="json", exclude={*body, "max_tokens"}, exclude_defaults=not local)
        if not self.stop:
            optional.pop("stop", None)
        if self.reasoning_effort is None:
            optional.pop("reasoning_effort", None)
        return {**body, **optional}
