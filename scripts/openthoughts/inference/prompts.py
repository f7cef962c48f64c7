"""Prompts: Markdown files with placeholders, rendered to the messages of a chat.

A prompt is a Jinja template: ``{{ question }}``, ``{{ choices }}`` and the names of a question's metadata stand for
what a question brings; what is inserted is never read as a template again, and single braces are text, as in
mathematics. Lines ``<!-- system -->`` and ``<!-- user -->`` divide the file into messages; without them the whole file
is the user's message.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openthoughts.base.cli import UserError
from openthoughts.base.places import located

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

Messages = list[dict[str, str]]

TELLING = frozenset(
    {
        *("answer", "answers", "solution", "solutions", "reference", "references", "gold", "golden", "truth", "target"),
        *("targets", "correct", "key", "label", "labels", "test", "tests", "entry", "output", "outputs", "result"),
    }
)
"""Words in a name that says, or may say, what the right answer is: only prompts that judge or write may use it."""

HARMLESS = frozenset({"type", "types", "format", "unit", "units", "kind", "count", "language"})
"""Last words of names that say something about an answer, not what it is, such as ``answer_type``."""


def tells(name: str) -> bool:
    """Whether what a name of the metadata stands for may tell the right answer."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_")
    return words[-1] not in HARMLESS and not TELLING.isdisjoint(words)


_SECTION = re.compile(r"^<!--\s*(system|user)\s*-->[ \t]*\n", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_SINGLE = re.compile(r"(?<!\{)\{([a-z_]+)\}(?!\})")


@dataclass(frozen=True)
class Prompt:
    """The messages' templates: (role, text) in the order they are sent."""

    sections: tuple[tuple[str, str], ...]

    @classmethod
    def bare(cls) -> Prompt:
        """The question as it is, as the only message."""
        return cls((("user", "{{ question }}"),))

    @classmethod
    def read(cls, path: Path | str | None, may_tell: bool = False) -> Prompt:
        """Read a prompt file; none is the bare question. See ``parse``."""
        if path is None:
            return cls.bare()
        try:
            text = located(path).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"the prompt {path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise UserError(f"the prompt {path} is not UTF-8 text: save it as UTF-8.") from error
        return cls.parse(text, str(path), may_tell)

    @classmethod
    def parse(cls, text: str, name: str = "the prompt", may_tell: bool = False) -> Prompt:
        """Read a prompt's text; ``name`` is what errors call it; ``may_tell`` allows names that tell the answer.

        Raises ``UserError`` where it is no template, asks no question, or tells the answer.
        """
        parts = _SECTION.split(text)
        sections = [("user", parts[0])] if len(parts) == 1 else list(zip(parts[1::2], parts[2::2], strict=True))
        prompt = cls(tuple((role, body.strip()) for role, body in sections))
        names = prompt.placeholders(name)
        if "question" not in names:
            old = " (a single brace is text)" if "{question}" in text else ""
            raise UserError(f"{name} has no {{{{ question }}}} in it{old}: write it where the question belongs.")
        if not may_tell and (telling := sorted(filter(tells, names))):
            raise UserError(
                f"{name} would tell the model the answer ({{{{ {telling[0]} }}}}): leave it out; only prompts that "
                "judge or write may use it."
            )
        return prompt

    def placeholders(self, name: str = "the prompt") -> frozenset[str]:
        """The names that the prompt uses. Raises ``UserError`` where it is no template."""
        from jinja2 import TemplateSyntaxError, meta, nodes

        found: set[str] = set()
        for _, body in self.sections:
            try:
                tree = _environment().parse(body)
            except TemplateSyntaxError as error:
                remedy = "write two opening braces that are text as {{ '{{' }}"
                raise UserError(f"{name} is no template ({error.message}): {remedy}.") from error
            if next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None):
                raise UserError(f"{name} reads another file: a prompt stands in one file, write it out.")
            found |= meta.find_undeclared_variables(tree)
        return frozenset(found)

    def require(self, *names: str, name: object = "the prompt") -> None:
        """Raise ``UserError`` where the prompt names none of ``names``: then it asks about nothing.

        ``name`` is what the error calls it.
        """
        if not self.placeholders() & set(names):
            wanted = " or ".join(f"{{{{ {one} }}}}" for one in names)
            raise UserError(f"{name} has no {wanted} in it: write it where the answer to judge belongs.")

    @cached_property
    def _templates(self) -> list[tuple[str, Template]]:
        return [(role, _environment().from_string(body)) for role, body in self.sections]

    @cached_property
    def _brought(self) -> frozenset[str]:
        """What the metadata brings, or who asks."""
        return self.placeholders() - {"question"}

    def messages(
        self, question: str, metadata: Mapping[str, Any] | str | None = None, response: str | None = None
    ) -> Messages:
        """The messages for one question. ``metadata`` is the question's (an object, or its JSON).

        ``response`` is an answer to it, for prompts that ask about one.

        Raises ``UserError`` where the prompt wants something that the question does not have.
        """
        given = {"response"} if response is not None else set()
        values = _values(metadata) if self._brought - given else {}
        if response is not None:
            values["response"] = response
        values["question"] = question
        try:
            return [{"role": role, "content": template.render(values)} for role, template in self._templates]
        except Exception as error:  # a template may fail in as many ways as a program
            raise UserError(f"the prompt cannot ask the question {question[:60]!r}: {error}.") from error


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(
        block_start_string="{{%",  # single braces are text, in front of % and # too
        block_end_string="%}}",
        comment_start_string="{{#",
        comment_end_string="#}}",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )  # prompts are no HTML


def text_digest(text: str) -> str:
    """16 hex digits of a prompt's text, which are part of ids.

    A placeholder counts as the ``{name}`` that it was written as before prompts were templates, unless the text has
    such braces of its own.
    """
    earlier = text if _SINGLE.search(text) else _PLACEHOLDER.sub(r"{\1}", text)
    return hashlib.sha256(earlier.encode()).hexdigest()[:16]


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
