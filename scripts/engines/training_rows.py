"""How one conversation becomes tokens: where LLaMA-Factory changes a text or loses a part silently, this decides.

Runs in LLaMA-Factory's environment, around its own processor of supervised fine-tuning:

- special tokens that stand in a text (``<|im_end|>``) stay text; LLaMA-Factory would make real ones of them;
- a row longer than the cutoff is dropped, cut or refused as the settings say;
- an empty ``<think></think>`` stands where the settings say, whatever the template does;
- some rows are kept as the trainer sees them, and checked against the model's chat template.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

IGNORED = -100
"""The label of a token that is not trained on."""

THINKING = ("<think>", "</think>")
"""Marks of thinking, which are meant as such wherever they stand."""

INDEX = "{{idx}}"
"""What LLaMA-Factory takes for a placeholder of its own in a question."""

OPENED, CLOSED = "\ufdd0", "\ufdd1"
"""Noncharacters of Unicode, which no text holds: between them stands the number of a protected text."""

_MARK = re.compile(f"{OPENED}([0-9]+){CLOSED}")

QUESTION, ANSWER, SPECIAL = "question", "answer", "special"
"""Why rows are dropped: the question does not fit, the answer would lose too much, a special token in the text."""


class RefusalError(Exception):
    """The request cannot be carried out; the message is one sentence for the user."""


@dataclass
class Protection:
    """Texts that a tokenizer or a template would not take as text, and how they are kept as such."""

    texts: Sequence[str]
    """Special tokens and placeholders, longest first."""
    special: Sequence[str]
    """The special tokens, which a template writes too."""
    works: bool = True
    """Whether they can be encoded as text; otherwise rows that hold one are dropped."""

    @classmethod
    def of(cls, tokenizer: Any) -> Protection:
        """The protection that a tokenizer needs, tried out on its own special tokens."""
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        longest_first = sorted(special, key=lambda text: (-len(text), text))
        texts = [*(text for text in longest_first if text not in THINKING), INDEX]
        protection = cls(texts, longest_first)
        protection.works = hasattr(tokenizer, "backend_tokenizer") and protection._proves_itself(tokenizer)
        return protection

    def mark(self, text: str) -> str:
        """A text with its protected parts as marks."""
        return self.pattern.sub(lambda found: f"{OPENED}{self.texts.index(found[0])}{CLOSED}", text)

    def unmark(self, text: str) -> str:
        """The text before it was marked."""
        return _MARK.sub(self._restored, text)

    def encode(self, tokenizer: Any, text: str) -> list[int]:
        """Token ids of a rendered text with marks: special tokens outside of them are real ones, those in them text."""
        ids: list[int] = []
        splitting = re.compile("(" + "|".join(map(re.escape, self.special)) + ")") if self.special else None
        for part in splitting.split(text) if splitting else [text]:
            if part in self.special:
                ids.append(tokenizer.convert_tokens_to_ids(part))
            elif part:
                ids += as_text(tokenizer, self.unmark(part))
        return ids

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Where a text holds what is protected."""
        return re.compile("|".join(map(re.escape, self.texts)))

    def _restored(self, found: re.Match[str]) -> str:
        number = int(found[1])
        return self.texts[number] if number < len(self.texts) else found[0]

    def _proves_itself(self, tokenizer: Any) -> bool:
        """Whether marked texts come back as text, and others are encoded as they always are."""
        for text in self.texts:
            ids = self.encode(tokenizer, self.mark(f"What is {text} here?"))
            if text in self.special and tokenizer.convert_tokens_to_ids(text) in ids:
                return False
            if tokenizer.decode(ids, skip_special_tokens=False) != f"What is {text} here?":
                return False
        plain = "".join(f"{text}user\nWhat is 2 + 2?" for text in self.special)
        return bool(self.encode(tokenizer, plain) == tokenizer.encode(plain, add_special_tokens=False))


def as_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text in which no special token is one."""
    backend = tokenizer.backend_tokenizer
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        return list(backend.encode(text, add_special_tokens=False).ids)
    finally:
        backend.encode_special_tokens = before


@dataclass
class Rows:
    """What happens to the rows of a chunk, and what was counted."""

    over_cutoff: str
    """``drop``, ``cut``, ``fail`` or ``published``: what happens to rows that are longer than the cutoff."""
    most_lost: float
    """The largest share of its tokens that an answer may lose; with more its row is dropped (``drop``)."""
    empty_thinking: str
    """``none``, ``answer`` or ``prompt``: where an empty thinking is put, for answers that have none."""
    protection: Protection
    wanted: frozenset[int] = frozenset()
    """Numbers of the rows that are kept as a sample."""
    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    """Tokens of the longest row, before it is cut."""
    sample: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0
    _reason: str = ""
    """Why the row at hand is dropped."""
    _is_cut: bool = False
    _turns_left: int = 0
    """Turns of the row at hand that were not looked at yet; those that nothing is left for never are."""

    def fit(self, source: int, target: int, cutoff: int, published: Callable[..., tuple[int, int]]) -> tuple[int, int]:
        """How many tokens of a question and its answer are kept: as the settings say, all where both fit."""
        lost = source + target - cutoff
        self.longest = max(self.longest, source + target)
        kept = (source, target)
        if lost > 0 and self.over_cutoff == "published":
            kept = published(source, target, cutoff)
        elif lost > 0 and source >= cutoff:
            self._reason = QUESTION
        elif lost > 0 and self.over_cutoff != "cut" and (self.over_cutoff == "fail" or lost > self.most_lost * target):
            self._reason = ANSWER
        elif lost > 0:
            kept = (source, cutoff - source)
        self._is_cut |= lost > 0
        self._turns_left -= 1
        return kept

    def encode_pair(
        self, plain: Callable[..., Any], template: Any, tokenizer: Any, messages: Sequence[Any], system: Any
    ) -> list[tuple[list[int], list[int]]]:
        """The token ids of a question and of its answer, with the empty thinking where it belongs.

        ``plain`` gives them without any.
        """
        with self.encoding(tokenizer, any(OPENED in message["content"] for message in messages)):
            pairs = plain(tokenizer, messages, system, None)
        self._turns_left = len(pairs)
        block = template.get_thought_word_ids(tokenizer)
        has_thinking = any(mark in messages[-1]["content"] for mark in THINKING)
        source, target = pairs[-1]
        if self.empty_thinking == "prompt":
            self.counts["thinking_rows"] += has_thinking
            source = source + block
        elif self.empty_thinking == "answer" and not has_thinking:
            target = block + target
        return [*pairs[:-1], (source, target)]

    @contextmanager
    def encoding(self, tokenizer: Any, marked: bool) -> Iterator[None]:
        """The tokenizer takes protected texts as text, where there are any."""
        if not marked:
            yield
            return
        tokenizer.encode = lambda text, **_: self.protection.encode(tokenizer, text)
        try:
            yield
        finally:
            del tokenizer.encode

    def row(self, processor: Any, encode: Callable[..., Any], prompt: Any, response: Any, **further: Any) -> Any:
        """One row's token ids and labels; what packing and ``kept`` leave out where it is dropped."""
        number, self._number, self._reason = self._number, self._number + 1, ""
        self._is_cut, self._turns_left = False, 0
        marked = any(OPENED in message["content"] for message in prompt + response)
        if marked and not self.protection.works:
            self._reason, ids, labels = SPECIAL, [], []
        else:
            ids, labels = encode(processor, prompt=prompt, response=response, **further)
        if self._turns_left and self.over_cutoff in {"drop", "fail"} and not self._reason:
            self._reason = ANSWER
        self.counts["rows"] += 1
        self.counts["special_rows"] += marked
        if self._reason:
            self.dropped[self._reason] += 1
            return over_length(processor)
        self.counts["tokens"] += len(ids)
        self.counts["trained_tokens"] += len(labels) - labels.count(IGNORED)
        self.counts["cut_rows"] += self._is_cut or self._turns_left > 0
        if number in self.wanted:
            self.sample.append(seen(processor.tokenizer, number, ids, labels))
            question = prompt[-1]["content"]
            # Some chat templates strip what is asked; of several turns the last alone is not what was encoded.
            if len(prompt) == 1 and not marked and question == question.strip():
                check_asked(processor.tokenizer, question, further, ids, labels, self.empty_thinking)
        return ids, labels


def over_length(processor: Any) -> tuple[list[int], list[int]]:
    """A row that is left out: packing drops what is longer than the cutoff, ``kept`` what is one token."""
    length = processor.data_args.cutoff_len + 1 if processor.data_args.packing else 1
    return [0] * length, [IGNORED] * length


def kept(dataset: Any) -> Any:
    """A tokenised dataset that is not packed, without the rows that are left out."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(dataset.with_format("arrow")[:].column("input_ids"))
    return dataset.select(pc.indices_nonzero(pc.greater(lengths, 1)).to_pylist()).flatten_indices()


def seen(tokenizer: Any, number: int, ids: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
    """A row as the trainer sees it: its text in parts, each trained on or not."""
    parts = [
        {"text": tokenizer.decode(list(run), skip_special_tokens=False), "trained": trained, "tokens": len(run)}
        for trained, run in runs(ids, labels)
    ]
    return {"row": number, "tokens": len(ids), "parts": parts}


def runs(ids: Sequence[int], labels: Sequence[int]) -> Iterable[tuple[bool, list[int]]]:
    """Neighbouring tokens that are all trained on, or all not."""
    begun = 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or (labels[place] == IGNORED) != (labels[begun] == IGNORED):
            yield labels[begun] != IGNORED, list(ids[begun:place])
            begun = place


def check_asked(
    tokenizer: Any, question: str, further: Mapping[str, Any], ids: Sequence[int], labels: Any, empty_thinking: str
) -> None:
    """Raise ``RefusalError`` where a row asks otherwise than the model's chat template will at evaluation.

    What is not trained on must be the beginning of what the chat template writes, which may go on (``<think>``).
    """
    messages = [{"role": "system", "content": further["system"]}] if further.get("system") else []
    messages.append({"role": "user", "content": question})
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    asked = tokenizer.encode(text, add_special_tokens=False)
    length = next((place for place, label in enumerate(labels) if label != IGNORED), len(ids))
    if list(ids[:length]) != asked[:length]:
        shown = tokenizer.decode(list(ids[:length]), skip_special_tokens=False)
        other = ", or another `empty_thinking` of the scale" if empty_thinking == "prompt" else ""
        raise RefusalError(
            f"a row asks {shown[-300:]!r} where the model's chat template has {text[-300:]!r}: name the template of "
            f"LLaMA-Factory that is the model's own{other}."
        )
