"""What a hosted model wants otherwise in a request: another API, settings that it refuses, names of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from openthoughts.base.options import Options, did_you_mean

OWN = ("model", "messages", "input", "n", "stream", "stream_options")
"""Keys that say what is asked and in which form it is answered: the workflow sets or leaves them itself."""

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Names of the most tokens of an answer, which `sampling` sets."""

CHAT = (
    *("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"),
    *("stop", "ignore_eos", "reasoning_effort", "seed", "response_format", "encoding_format"),
    *("max_tokens", "max_completion_tokens"),
)
"""Keys that a chat completion or an embedding is asked with, besides ``OWN``."""

RESPONSES = ("max_output_tokens", "reasoning", "text", "store")
"""Further keys of the Responses API."""

ONE_SETTING = (LIMITS, ("reasoning_effort", "reasoning"), ("response_format", "text"))
"""Names of one setting, of which a request has one."""

MERGED = ("reasoning", "text")
"""Blocks of the Responses API that a model's further keys are added to."""


def _is_setting(key: str) -> str:
    if key in OWN:
        raise ValueError(f"{key} is what is asked and how, no setting: leave it out")
    return key


def _can_be_added(key: str) -> str:
    if key in OWN:
        raise ValueError(f"the key '{key}' cannot be added, as the workflow sets it itself: leave it out")
    if key in LIMITS:
        raise ValueError(
            f"the key '{key}' cannot be added, as the workflow sets it itself: set max_tokens of `sampling`, and "
            "rename it where the model calls it otherwise"
        )
    return key


Setting = Annotated[str, AfterValidator(_is_setting)]
Addition = Annotated[str, AfterValidator(_can_be_added)]


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

    @field_validator("omit", "rename")
    @classmethod
    def _is_sent(cls, named: Any, info: ValidationInfo) -> Any:
        known = _known(info)
        if unknown := [f"no request has a key '{key}'{did_you_mean(key, known)}" for key in named if key not in known]:
            raise ValueError("; ".join(unknown))
        return named

    @field_validator("rename")
    @classmethod
    def _has_a_name_of_its_own(cls, rename: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        sent = {key: rename.get(key, key) for key in _known(info) if key not in info.data.get("omit", ())}
        for key, name in rename.items():
            for other in [other for other in sent if other != key and sent[other] == name and key in sent]:
                if other in rename or not _are_one_setting(key, other):
                    raise ValueError(f"{key} and {other} would both be sent as {name}: give each a name of its own")
        return rename

    @field_validator("add")
    @classmethod
    def _is_not_sent_already(cls, add: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for key, name in info.data.get("rename", {}).items():
            if name in add and name != key:
                raise ValueError(f"{key} is sent as {name}: add it under another name, or leave one of the two out")
        return add

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


def _known(info: ValidationInfo) -> tuple[str, ...]:
    """The keys that requests to the API of a form have."""
    return CHAT if info.data.get("api") == "chat" else (*CHAT, *RESPONSES)


def _are_one_setting(*names: str) -> bool:
    """Whether names are those of one setting."""
    return any(set(names) <= set(group) for group in ONE_SETTING)


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
