"""What an answer is stored under: the partition of its model, and the key of its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openthoughts.base.hashing import digest


def model_partition(key: Mapping[str, Any]) -> str:
    """The ``model_id`` of a model's canonical key: part of its identity, to be read by people, and a digest."""
    identity = str(key.get("identity", "model"))
    readable = "".join(character if character.isalnum() or character in "._-" else "-" for character in identity)
    return f"{readable[:48]}-{digest(key, 12)}"


class KeyMaker:
    """The store keys of requests of one model under one set of settings.

    A key is 32 hex digits over everything that decides the answer.
    """

    def __init__(self, model: Mapping[str, Any], sampling: Any, schema: Any) -> None:
        self._settings = digest({"model": dict(model), "sampling": sampling, "response_schema": schema}, 64)
        self._last: tuple[Any, str] = (None, "")

    def __call__(self, messages: Any, sample: int, seed: int) -> str:
        if messages is not self._last[0]:  # the samples of a question share theirs
            self._last = (messages, digest(messages, 64))
        return digest([self._settings, self._last[1], sample, seed])
