"""Prompts: Markdown files with placeholders, rendered to the messages of a chat.

``{question}``, ``{choices}`` and the names of a question's metadata in braces are replaced literally, once: questions
may contain braces of their own. Lines ``<!-- system -->`` and ``<!-- user -->`` divide the file into messages; without
them the whole file is the user's message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.places import located

Messages = list[dict[str, str]]

_SECTION = re.compile(r"^<!--\s*(system|user)\s*-->[ \t]*\n", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompt:
    """The messages' templates: (role, text) in the order they are sent."""

    sections: tuple[tuple[str, str], ...]

    @classmethod
    def bare(cls) -> Prompt:
        """The question as it is, as the only message."""
        return cls((("user", "{question}"),))

    @classmethod
    def read(cls, path: Path | str | None) -> Prompt:
        """Read a prompt file; none is the bare question."""
        if path is None:
            return cls.bare()
        try:
            text = located(path).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"the prompt {path} cannot be read: {error.strerror}.") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "the prompt") -> Prompt:
        """Read a prompt's text; ``name`` is what errors call it."""
        parts = _SECTION.split(text)
        sections = [("user", parts[0])] if len(parts) == 1 else list(zip(parts[1::2], parts[2::2], strict=True))
        sections = [(role, body.strip()) for role, body in sections]
        if not any("{question}" in body for _, body in sections):
            raise UserError(f"{name} has no {{question}} in it: write it where the question belongs.")
        return cls(tuple(sections))

    def require(self, *names: str, name: object = "the prompt") -> None:
        """Raise ``UserError`` where the prompt names none of ``names``: then it asks about nothing.

        ``name`` is what the error calls it.
        """
        if not any(f"{{{one}}}" in body for one in names for _, body in self.sections):
            wanted = " or ".join(f"{{{one}}}" for one in names)
            raise UserError(f"{name} has no {wanted} in it: write it where the answer to judge belongs.")

    def messages(
        self, question: str, metadata: Mapping[str, Any] | str | None = None, response: str | None = None
    ) -> Messages:
        """The messages for one question. ``metadata`` is the question's (an object, or its JSON).

        ``response`` is an answer to it, for prompts that ask about one.

        Raises ``UserError`` where the prompt wants something that the question does not have.
        """
        values: dict[str, str] | None = None

        def value(match: re.Match[str]) -> str:
            nonlocal values
            if match[1] == "question":
                return question
            if match[1] == "response" and response is not None:
                return response
            if values is None:
                values = _values(metadata)
            if match[1] not in values:
                raise UserError(
                    f"the prompt asks for {{{match[1]}}}, which the question {question[:60]!r} does not have."
                )
            return values[match[1]]

        return [{"role": role, "content": _PLACEHOLDER.sub(value, body)} for role, body in self.sections]


def _values(metadata: Mapping[str, Any] | str | None) -> dict[str, str]:
    fields = json.loads(metadata) if isinstance(metadata, str) else dict(metadata or {})
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    if "choices" in fields:
        values["choices"] = format_choices(fields["choices"])
    return values


def format_choices(choices: Any) -> str:
    """Choices as lines ``A) text``: from a list, or from an object of letter and text."""
    if isinstance(choices, str):
        return choices
    pairs = (
        choices.items() if isinstance(choices, Mapping) else zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", choices, strict=False)
    )
    return "\n".join(f"{letter}) {text}" for letter, text in pairs)
