"""What a hosted model wants otherwise in the body of a request: settings that it refuses, names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from openthoughts.base.options import Options


def _is_setting(key: str) -> str:
    if key in ("model", "messages", "input"):
        raise ValueError(f"{key} is what is asked, no setting")
    return key


Setting = Annotated[str, AfterValidator(_is_setting)]


class RequestForm(Options):
    """Changes to the body of every request of a model, first to last; they are part of the store's keys."""

    identity_as_written: ClassVar[bool] = True

    omit: tuple[Setting, ...] = Field(
        (), description="Keys that are not sent, such as temperature, top_p or seed where the model refuses them."
    )
    rename: dict[Setting, Setting] = Field(
        default_factory=dict, description="Key -> its name there, such as max_tokens -> max_completion_tokens."
    )
    add: dict[Setting, Any] = Field(default_factory=dict, description="Further keys, sent as they are.")

    def shape(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body as the model takes it."""
        return {self.rename.get(key, key): value for key, value in body.items() if key not in self.omit} | self.add
