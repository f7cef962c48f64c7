"""What a hosted model wants otherwise in a request: another API, settings that it refuses, names of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from openthoughts.base.options import Options


def _is_setting(key: str) -> str:
    if key in ("model", "messages", "input"):
        raise ValueError(f"{key} is what is asked, no setting")
    return key


Setting = Annotated[str, AfterValidator(_is_setting)]

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Names of the most tokens of an answer, which `sampling` sets."""


def _can_be_added(key: str) -> str:
    if key in ("n", "stream", "stream_options"):
        raise ValueError(f"{key} makes another answer than the one that is read: leave it out")
    if key in LIMITS:
        raise ValueError(f"{key} is what max_tokens of `sampling` sets: rename it where the model calls it so")
    return _is_setting(key)


Addition = Annotated[str, AfterValidator(_can_be_added)]


MERGED = ("reasoning", "text")
"""Blocks of the Responses API that a model's further keys are added to."""


class RequestForm(Options):
    """Changes to the body of every request of a model, first to last; they are part of the store's keys."""

    identity_as_written: ClassVar[bool] = True

    api: Literal["chat", "responses"] = Field(
        "chat", description="Which API answers: chat completions, or responses for models that have nothing else."
    )
    omit: tuple[Setting, ...] = Field(
        (), description="Keys that are not sent, such as temperature, top_p or seed where the model refuses them."
    )
    rename: dict[Setting, Setting] = Field(
        default_factory=dict, description="Key -> its name there, such as max_tokens -> max_completion_tokens."
    )
    add: dict[Addition, Any] = Field(default_factory=dict, description="Further keys, sent as they are.")

    @property
    def has_limit(self) -> bool:
        """Whether the most tokens of an answer are sent."""
        return not set(LIMITS) & set(self.omit)

    @property
    def path(self) -> str:
        """Where answers are asked for, below the address of the API."""
        return "/responses" if self.api == "responses" else "/chat/completions"

    def shape(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body of chat completions (or of embeddings) as the model takes it."""
        kept = {key: value for key, value in body.items() if key not in self.omit}
        if self.api == "responses":
            kept = as_response(kept, as_they_are=self.rename)
        shaped = {self.rename.get(key, key): value for key, value in kept.items() if key not in self.omit}
        merged = {key: shaped[key] | self.add[key] for key in self._merged(shaped)}
        return shaped | self.add | merged

    def _merged(self, body: Mapping[str, Any]) -> list[str]:
        """The blocks that both a body and ``add`` have."""
        blocks = MERGED if self.api == "responses" else ()
        return [key for key in blocks if isinstance(body.get(key), dict) and isinstance(self.add.get(key), dict)]


def as_response(body: Mapping[str, Any], as_they_are: Collection[str] = ()) -> dict[str, Any]:
    """A body of chat completions as one of the Responses API, which knows no seed; nothing is kept at the server.

    Keys of ``as_they_are``, and those that have the same name in both, stay.
    """
    changed: dict[str, Any] = {}
    for key, value in body.items():
        if key in as_they_are:
            changed[key] = value
        elif key == "messages":
            changed["input"] = value
        elif key in ("max_tokens", "max_completion_tokens"):
            changed["max_output_tokens"] = value
        elif key == "reasoning_effort":
            changed["reasoning"] = {"effort": value}
        elif key == "response_format":
            schema = value.get("json_schema", {})
            changed["text"] = {"format": {"type": value["type"], **schema}}
        elif key != "seed":
            changed[key] = value
    return {**changed, "store": False}
