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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openthoughts.base.cli import UserError
from openthoughts.base.places import located

if TYPE_CHECKING:
    from jinja2 import Template, nodes
    from jinja2.sandbox import SandboxedEnvironment

Messages = list[dict[str, str]]

TELLING = frozenset(
    {
        *("answer", "answers", "solution", "solutions", "reference", "references", "gold", "golden", "truth", "truths"),
        *("target", "targets", "correct", "key", "label", "labels", "test", "tests", "entry", "output", "outputs"),
        *("result", "response", "responses", "completion", "completions", "rationale", "rationales", "explanation"),
        *("explanations", "expected", "ideal", "gt", "sol", "soln", "ans", "proof", "proofs"),
    }
)
"""Words in a name that says, or may say, what the right answer is: only prompts that judge or write may use it."""

RUN_TOGETHER = ("answer", "solution", "groundtruth", "testcase", "unittest")
"""The same where they are part of a word, such as ``finalanswer``."""

HARMLESS = frozenset({"type", "types", "format", "unit", "units", "kind", "count", "language"})
"""Last words of names that say something about an answer, not what it is, such as ``answer_type``."""


def tells(name: str) -> bool:
    """Whether what a name of the metadata stands for may tell the right answer."""
    words = re.sub(r"[^a-z]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()).strip("_").split("_")
    if words[-1] in HARMLESS:
        return False
    return not TELLING.isdisjoint(words) or any(part in word for part in RUN_TOGETHER for word in words)


_SECTION = re.compile(r"^<!--\s*(system|user)\s*-->[ \t]*\n", re.MULTILINE | re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_SINGLE = re.compile(r"(?<!\{)\{([a-z_]+)\}(?!\})")


@dataclass(frozen=True)
class Prompt:
    """The messages' templates: (role, text) in the order they are sent."""

    sections: tuple[tuple[str, str], ...]
    name: str = field(default="the prompt", compare=False)
    """What errors call it."""
    may_tell: bool = field(default=False, compare=False)
    """Whether it may use what tells the right answer."""

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
        messages = tuple((role.lower(), body.strip()) for role, body in sections)
        prompt = cls(messages, name, may_tell)
        names = prompt.placeholders()
        if "question" not in names:
            old = " (a single brace is text)" if "{question}" in text else ""
            raise UserError(f"{name} has no {{{{ question }}}} in it{old}: write it where the question belongs.")
        if not may_tell and (telling := sorted(filter(tells, names | prompt._looked_up()))):
            raise UserError(
                f"{name} would tell the model the answer ({{{{ {telling[0]} }}}}): leave it out; only prompts that "
                "judge or write may use it."
            )
        return prompt

    def placeholders(self) -> frozenset[str]:
        """The names that the prompt uses. Raises ``UserError`` where it is no template."""
        from jinja2 import meta, nodes

        found: set[str] = set()
        for tree in self._trees():
            if next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None):
                raise UserError(f"{self.name} reads another file: a prompt stands in one file, write it out.")
            found |= meta.find_undeclared_variables(tree)
        return frozenset(found)

    def _looked_up(self) -> frozenset[str]:
        """The names that it looks up within the metadata: attributes, keys, and what filters take for one."""
        from jinja2 import nodes

        found: set[str] = set()
        for tree in self._trees():
            found |= {node.attr for node in tree.find_all(nodes.Getattr)}
            texts = [node.arg for node in tree.find_all(nodes.Getitem)]
            for call in tree.find_all(nodes.Call):
                texts += call.args[:1] if isinstance(call.node, nodes.Getattr) and call.node.attr in LOOKING_UP else []
            for used in tree.find_all(nodes.Filter):
                texts += used.args[:1] if used.name in BY_ATTRIBUTE else []
                texts += [each.value for each in used.kwargs if each.key == "attribute"]
            found |= {node.value for node in texts if isinstance(node, nodes.Const) and isinstance(node.value, str)}
        return frozenset(found)

    def _trees(self) -> Iterator[nodes.Template]:
        from jinja2 import TemplateSyntaxError

        for _, body in self.sections:
            try:
                tree = _environment().parse(body)
                _environment().compile(body)
            except TemplateSyntaxError as error:
                raise UserError(
                    f"{self.name} is no template ({error.message}): {_remedy(str(error.message))}."
                ) from error
            except (RecursionError, ValueError, OverflowError) as error:
                raise UserError(f"{self.name} is no template ({error}): write it simpler.") from error
            yield tree

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
        values = _values(metadata, self.may_tell, "choices" in self._brought) if self._brought - given else {}
        if response is not None:
            values["response"] = response
        values["question"] = question
        from jinja2 import UndefinedError

        try:
            return [{"role": role, "content": template.render(values)} for role, template in self._templates]
        except Exception as error:  # a template may fail in as many ways as a program
            why = str(error).rstrip(".")
            remedy = (
                ": write {{ NAME | default('') }} for what may be missing" if isinstance(error, UndefinedError) else ""
            )
            raise UserError(f"{self.name} cannot ask the question {question[:60]!r}: {why}{remedy}.") from error


BY_ATTRIBUTE = frozenset({"attr", "selectattr", "rejectattr", "groupby", "sum"})
"""Filters of Jinja that take the name of an attribute first; others name it as ``attribute``."""

LOOKING_UP = frozenset({"get", "pop", "setdefault"})
"""Methods that take a key first."""


def _remedy(message: str) -> str:
    if "No filter" in message or "No test" in message:
        return "correct its name"
    if "end of template" in message or "Missing end" in message:
        return "end every {{% if %}} with {{% endif %}}, every {{% for %}} with {{% endfor %}}"
    return "write two opening braces that are text as {{ '{{' }}, and a value within braces as { {{ name }} }"


def _as_text(value: Any) -> Any:
    """What an expression gives as it is inserted: texts as they are, anything else as JSON."""
    from jinja2 import Undefined

    return value if isinstance(value, str | Undefined) else json.dumps(value)


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        block_start_string="{{%",  # single braces are text, in front of % and # too
        block_end_string="%}}",
        comment_start_string="{{#",
        comment_end_string="#}}",
        undefined=StrictUndefined,
        finalize=_as_text,
        keep_trailing_newline=True,
    )  # prompts are no HTML
    # A prompt that comes out differently each time would be asked, and paid for, each time.
    del environment.filters["random"], environment.globals["lipsum"]
    return environment


def text_digest(text: str) -> str:
    """16 hex digits of a prompt's text, which are part of ids.

    A placeholder counts as the ``{name}`` that it was written as before prompts were templates, unless the text has
    such braces of its own.
    """
    earlier = text if _SINGLE.search(text) else _PLACEHOLDER.sub(r"{\1}", text)
    return hashlib.sha256(earlier.encode()).hexdigest()[:16]


def _values(metadata: Mapping[str, Any] | str | None, may_tell: bool, with_choices: bool) -> dict[str, Any]:
    """The metadata as a prompt sees it; unless it ``may_tell``, without what has a telling name, at whatever depth."""
    fields = json.loads(metadata) if isinstance(metadata, str) else metadata
    fields = dict(fields) if isinstance(fields, Mapping) else {}
    values: dict[str, Any] = fields if may_tell else _untold(fields)
    if with_choices and fields.get("choices") is not None:
        values = {**values, "choices": format_choices(fields["choices"])}
    return values


def _untold(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _untold(member) for name, member in value.items() if not tells(str(name))}
    return [_untold(member) for member in value] if isinstance(value, list) else value


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def format_choices(choices: Any) -> str:
    """Choices as lines ``A) text``: from a list, an object of letter and text, or one of lists ``label`` and ``text``.

    Of a choice that is an object its text alone is shown. Raises ``UserError`` for more choices than letters, labels of
    another number than texts, and choices that are objects without a text.
    """
    if isinstance(choices, Mapping) and isinstance(choices.get("text"), list):
        labels = choices.get("label")
        if not isinstance(labels, list):
            return format_choices(choices["text"])
        if len(labels) != len(choices["text"]):
            raise UserError(f"a question has {len(labels)} labels of {len(choices['text'])} choices: leave it out.")
        choices = dict(zip(labels, choices["text"], strict=True))
    if isinstance(choices, list) and len(choices) > len(LETTERS):
        raise UserError(f"a question has {len(choices)} choices, and there are {len(LETTERS)} letters: leave it out.")
    if not isinstance(choices, Mapping | list):
        return choices if isinstance(choices, str) else json.dumps(choices)
    pairs = list(choices.items() if isinstance(choices, Mapping) else zip(LETTERS, choices, strict=False))
    return "\n".join(f"{letter}) {_choice(text)}" for letter, text in pairs if not tells(str(letter)))


def _choice(choice: Any) -> Any:
    """The text of a choice."""
    if not isinstance(choice, Mapping):
        return choice
    for name in ("text", "content", "choice", "option", "value"):
        if name in choice:
            return choice[name]
    raise UserError(f"a choice is an object without a text (it has {', '.join(map(str, choice))}): give texts.")
