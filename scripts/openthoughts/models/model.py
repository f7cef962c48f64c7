"""Models as the stages hand them on: ``model.json``, which says who a model is, and the folder of weights beside it.

``model.json`` is small and tracked; the weights are not, so that no rerun ever deletes them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.files import write_text
from openthoughts.base.hashing import digest, file_sha256
from openthoughts.models.chat_templates import opening, read_chat_template, special_texts, special_tokens
from openthoughts.models.request_form import RequestForm

LOCAL, API = "local", "api"
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
NOT_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin", "optimizer.pt", "scheduler.pt"})
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


@dataclass(frozen=True)
class Model:
    """A model: one with weights on this machine (``local``), or one that a hosted API serves (``api``)."""

    name: str
    identity: str
    """Who it is: repository and commit, package and checksum, ``sha256:`` of its weights, provider and dated name."""
    provider: str = LOCAL
    path: str | None = None
    """The folder of the weights, relative to that of ``model.json``."""
    digest: str | None = None
    """SHA-256 over the weight files (see ``weights_digest``)."""
    dtype: str | None = None
    quantization: str | None = None
    engine_args: str = ""
    """Arguments of its engine that may change answers (``engine_arguments.changing``)."""
    max_model_len: int | None = None
    """Most tokens of prompt and answer together."""
    chat_template: str | None = None
    """SHA-256 of the chat template's text."""
    opening: str = ""
    """What the chat template writes at the start of the assistant's turn, after its header."""
    base_url: str | None = None
    """Where it is served: an API's address, or that of a server which the user keeps up for a local model."""
    api_key_variable: str | None = None
    """The environment variable that holds the key of ``base_url``."""
    api_model: str | None = None
    """Its name at ``base_url``."""
    request: Mapping[str, Any] | None = None
    """What its API wants otherwise in the body of a request (``RequestForm``)."""
    licence: str | None = None
    embeds: bool = False
    """A sentence model, which has no chat template."""
    training: Mapping[str, Any] | None = None
    """A student's training: its settings and metrics."""
    folder: Path = field(default=Path(), compare=False, repr=False)
    """Where its ``model.json`` is; not part of the file."""

    @classmethod
    def read(cls, path: Path | str) -> Model:
        """Read a ``model.json``. Raises ``UserError`` where it is missing, cut short or lacks something."""
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path} does not exist: run fetch_model (or the training that makes it).")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = {item.name for item in dataclasses.fields(cls)} - {"folder"}
            model = cls(folder=path.parent, **{key: value for key, value in content.items() if key in known})
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is not a whole model description: delete it and fetch the model again.") from error
        local = ("path", "digest") if model.embeds else ("path", "digest", "chat_template")
        needed = local if model.provider == LOCAL else ("base_url", "api_model")
        missing = [name for name in needed if not getattr(model, name)]
        if missing or model.provider not in (LOCAL, API):
            raise UserError(
                f"{path} lacks {', '.join(missing) or 'a known provider'}: delete it and fetch the model again."
            )
        return model

    def write(self, path: Path | str) -> None:
        """Write ``model.json`` atomically; everything it names must be there by then."""
        content = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "folder"}
        write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path)

    @property
    def local(self) -> bool:
        """Whether its weights are on this machine."""
        return self.provider == LOCAL

    @property
    def weights(self) -> Path:
        """The absolute path of its folder of weights. Raises ``UserError`` where there is none."""
        if self.path is None:
            raise UserError(f"{self.name} is served by an API and has no weights here: choose a local model.")
        folder = (self.folder / self.path).resolve()
        if not folder.is_dir():
            raise UserError(
                f"the weights of {self.name} are not in {folder}: delete {self.folder / 'model.json'} and run again."
            )
        return folder

    def special_texts(self) -> frozenset[str]:
        """Texts that a prompt must not hold, as the model takes them for special tokens; none where it is not here."""
        if not self.local or self.embeds or self.path is None:
            return frozenset()
        return special_texts(self.folder / self.path)

    def key(self) -> dict[str, Any]:
        """What identifies its answers in the completion store, whatever its folder, name or (a local one's) server."""
        if not self.local:
            return {"identity": self.identity, **({"request": dict(self.request)} if self.request else {})}
        return {
            "identity": self.identity,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "chat_template": self.chat_template,
            "max_model_len": self.max_model_len,
            **({"engine_args": self.engine_args} if self.engine_args else {}),
        }

    def request_form(self) -> RequestForm:
        """What changes the body of every request."""
        return RequestForm.model_validate(self.request or {})

    def key_digest(self) -> str:
        """Hash of ``key()``, under which ``OPENTHOUGHTS_SERVERS`` names a running server of this model."""
        return digest(self.key())


def describe(
    weights: Path,
    path: Path,
    name: str,
    identity: str | None = None,
    dtype: str = "bfloat16",
    max_model_len: int | None = None,
    **further: Any,
) -> Model:
    """The description of a folder of weights that is to be written to ``path`` (its ``model.json``).

    ``identity`` is ``sha256:`` of the weights where none is given; ``max_model_len`` the model's own where none is
    given. Raises ``UserError`` where there are no weights, no configuration or no chat template, or where the model
    is too short for ``max_model_len``.
    """
    longest = own_length(weights)
    if max_model_len and longest and max_model_len > longest:
        raise UserError(f"max_model_len {max_model_len} of {name} is more than the {longest} tokens it was made for.")
    template = read_chat_template(weights)
    total = weights_digest(weights)
    return Model(
        name=name,
        identity=identity or f"sha256:{total}",
        path=relpath(weights.resolve(), path.parent.resolve()),
        digest=total,
        dtype=dtype,
        max_model_len=max_model_len or longest,
        chat_template=hashlib.sha256(template.encode()).hexdigest(),
        opening=opening(template, special_tokens(weights)),
        folder=path.parent,
        **further,
    )


def own_length(weights: Path) -> int | None:
    """The most tokens a model was made for, by its ``config.json``; None where it does not say.

    Raises ``UserError`` where there is no ``config.json``.
    """
    file = weights / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{weights} is not a model folder: it has no readable config.json; fetch it again.") from error
    config = {**config, **config.get("text_config", {})}
    return next((int(config[key]) for key in LENGTH_KEYS if config.get(key)), None)


def weight_files(weights: Path) -> list[Path]:
    """The files of a folder that hold weights, by name: safetensors where there are any, else other formats.

    Raises ``UserError`` where there are none.
    """
    for pattern in WEIGHT_FILES:
        files = sorted(path for path in weights.glob(pattern) if path.name not in NOT_WEIGHTS)
        if files:
            return files
    raise UserError(f"{weights} holds no weights (*.safetensors): fetch the model again.")


def weights_digest(weights: Path) -> str:
    """SHA-256 over the names and the SHA-256 of a folder's weight files, in order of their names."""
    files = weight_files(weights)
    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(file_sha256, files))
    total = hashlib.sha256()
    for path, part in zip(files, sums, strict=True):
        total.update(f"{path.name}\0{part}\n".encode())
    return total.hexdigest()
