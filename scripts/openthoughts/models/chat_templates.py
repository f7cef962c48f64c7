"""Chat templates of model folders: reading, rendering as transformers does, and what they write before an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openthoughts.base.cli import UserError

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
REASONING_TAG = "<think>"
END_OF_REASONING = "</think>"


def read_chat_template(folder: Path) -> str:
    """The chat template of a model folder: ``chat_template.jinja``, else the one in ``tokenizer_config.json``.

    Raises ``UserError`` where there is none.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        template = {each["name"]: each["template"] for each in template}.get("default")
    if not isinstance(template, str) or not template:
        raise UserError(
            f"the model folder {folder} has no chat template: add chat_template.jinja, or take the model's "
            "instruction-tuned version."
        )
    return template


def special_tokens(folder: Path) -> dict[str, str]:
    """The texts of a tokenizer's special tokens by role (``bos_token``, ...), which templates may use."""
    known = {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / "tokenizer_config.json")}
    texts = {role: known[role] for role in SPECIAL_TOKENS if known.get(role)}
    return {role: text["content"] if isinstance(text, dict) else text for role, text in texts.items()}


def special_texts(folder: Path) -> frozenset[str]:
    """The texts that the tokenizer of a model folder takes for special tokens wherever they stand.

    Marks of thinking are not among them: they mean the same in a text.
    """
    added = _read_json(folder / "tokenizer.json").get("added_tokens") or []
    decoder = _read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    texts = {each["content"] for each in [*added, *decoder.values()] if each.get("special")}
    return frozenset(texts - {REASONING_TAG, END_OF_REASONING})


def render(
    template: str,
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool,
    tokens: Mapping[str, str] | None = None,
) -> str:
    """The prompt text that a chat template makes of messages, as ``apply_chat_template`` of transformers renders it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlocks, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=lambda form: datetime.now().strftime(form)
    )
    return environment.from_string(template).render(
        messages=list(messages), tools=None, documents=None, add_generation_prompt=add_generation_prompt, **tokens or {}
    )


def opening(template: str, tokens: Mapping[str, str] | None = None) -> str:
    r"""The text that the template writes at the start of the assistant's turn, after its header (``"<think>\n"``).

    The server returns only what the model writes after it, so it is put back in front of the answers. The header is
    what also stands before an earlier answer of the conversation, where reasoning is left out.
    Raises ``UserError`` for a template that cannot render a plain conversation.
    """
    question = [{"role": "user", "content": "Question?"}]
    answer = "ANSWER"
    earlier = [*question, {"role": "assistant", "content": answer}, {"role": "user", "content": "Another?"}]
    try:
        before = render(template, question, False, tokens)
        prompt = render(template, question, True, tokens)
        conversation = render(template, earlier, False, tokens)
    except (TemplateError, TypeError) as error:
        raise UserError(f"the chat template cannot render a question and an answer: {error}") from error
    if not prompt.startswith(before):
        before = _shared_start(before, prompt)
    turn = prompt[len(before) :]
    header = len(turn)
    if conversation.startswith(before) and answer in conversation:
        header = len(_shared_start(turn, conversation[len(before) : conversation.index(answer)]))
    tag = turn.find(REASONING_TAG)
    return turn[min(header, tag) if tag >= 0 else header :]


def _shared_start(text: str, other: str) -> str:
    pairs = zip(text, other, strict=False)
    return text[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))]


class _GenerationBlocks(Extension):
    """``{% generation %}`` blocks, which mark the assistant's text for training and render as what they hold."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as a set)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The content of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: fetch the model again.") from error
    return value if isinstance(value, dict) else {}
