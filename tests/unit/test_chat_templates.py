"""What chat templates write before an answer, over the shapes that published models use."""

from __future__ import annotations

from pathlib import Path

import pytest

from openthoughts.base.cli import UserError
from openthoughts.models.chat_templates import opening, read_chat_template, render, special_tokens

CHATML = (
    "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
QWQ = CHATML.replace("<|im_start|>assistant\\n", "<|im_start|>assistant\\n<think>\\n")
R1_DISTILL = (
    "{{ bos_token }}{%- for m in messages %}{%- if m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}{%- else %}"
    "{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + '<|end|>' }}{%- endif %}{%- endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}"
)
EMPTY_THINK_IN_LAST_TURN = (
    "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{%- if m['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)
ALWAYS_THINKS = (
    "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{%- if m['role'] == 'assistant' %}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)
HEADER_ONLY = (
    "{%- for m in messages %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{%- endfor %}"
    "{%- if add_generation_prompt %}<|start|>assistant{%- endif %}"
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, ""),
        (QWQ, "<think>\n"),
        (R1_DISTILL, "<think>\n"),
        (EMPTY_THINK_IN_LAST_TURN, "<think>\n"),
        (ALWAYS_THINKS, "<think>\n"),
        (HEADER_ONLY, ""),
        (
            CHATML.replace("assistant\\n' }}{%- endif", "assistant\\n' }}{% generation %}{% endgeneration %}{%- endif"),
            "",
        ),
    ],
)
def test_opening(template: str, expected: str) -> None:
    assert opening(template, {"bos_token": "<|begin|>"}) == expected


def test_templates_render_as_transformers_does() -> None:
    template = (
        "{% for m in messages %}\n    {% if m.role == 'system' %}\n    {% continue %}\n    {% endif %}\n"
        "{{ m | tojson }}{% endfor %}\n{% generation %}{{ eos_token }}{% endgeneration %}"
    )
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "<é & 'quotes'>"}]
    # Expected text: AutoTokenizer.apply_chat_template of transformers 5.19 with this template.
    assert render(template, messages, False, {"eos_token": "<|end|>"}) == (
        '{"role": "user", "content": "<é & \'quotes\'>"}<|end|>'
    )


def test_a_template_that_refuses_is_one_sentence() -> None:
    with pytest.raises(UserError, match="the chat template cannot render a question and an answer: only tools"):
        opening("{{ raise_exception('only tools') }}")


def test_where_a_template_is_found(tmp_path: Path) -> None:
    config = tmp_path / "tokenizer_config.json"
    with pytest.raises(UserError, match=r"has no chat template: add chat_template\.jinja"):
        read_chat_template(tmp_path)
    config.write_text(
        '{"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}'
    )
    assert read_chat_template(tmp_path) == "D"
    config.write_text('{"chat_template": "C", "bos_token": {"content": "<s>"}, "eos_token": "</s>"}')
    assert read_chat_template(tmp_path) == "C"
    assert special_tokens(tmp_path) == {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "chat_template.jinja").write_text("J")
    assert read_chat_template(tmp_path) == "J"
