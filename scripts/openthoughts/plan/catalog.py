"""The catalog: what sources, benchmarks, models, GPUs, training scales and prompts exist, and to what they are pinned.

A catalog is a list of folders; entries of a later folder replace entries of the same name in an earlier one, so a
user's own question source is a few lines in a folder of their own. The workflow's own catalog is always there, below
those that are named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import file_sha256
from openthoughts.base.options import did_you_mean
from openthoughts.base.options import problems as problems_of
from openthoughts.base.places import WORKFLOW, located
from openthoughts.grading.graders import GRADERS
from openthoughts.inference.prompts import text_digest
from openthoughts.models.tokenizer_names import QWEN, is_tokenizer
from openthoughts.plan.config import ConfigurationError, read_yaml
from openthoughts.plan.settings.entries import CatalogFiles, Model, Questions
from openthoughts.sources.connectors import CONNECTORS
from openthoughts.sources.entries import entry_problems
from openthoughts.training.template_names import TEMPLATES

Entry = Mapping[str, Any]

OWN = "catalog"
"""The workflow's own catalog, in its folder."""

SECTIONS = ("sources", "benchmarks", "models", "gpus", "scales", "published")


@dataclass(frozen=True)
class Prompt:
    """A prompt file of the catalog, the digest of its text, and the text."""

    path: str
    digest: str
    text: str = "{{ question }}"


@dataclass(frozen=True)
class Catalog:
    """Everything that a recipe can name."""

    sources: Mapping[str, Entry] = field(default_factory=dict)
    benchmarks: Mapping[str, Entry] = field(default_factory=dict)
    models: Mapping[str, Entry] = field(default_factory=dict)
    scales: Mapping[str, Entry] = field(default_factory=dict)
    published: Mapping[str, Entry] = field(default_factory=dict)
    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    lock: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gpus: Mapping[str, Entry] = field(default_factory=dict)


def catalog_folders(folders: Sequence[Path | str]) -> list[tuple[Path, Path]]:
    """The folders of a catalog, each as it is named and where it is; the workflow's own first, unless it is named."""
    found = [(Path(folder), located(folder)) for folder in folders]
    own = WORKFLOW / OWN
    if not any(place.resolve() == own for _, place in found):
        found.insert(0, (Path(OWN), own))
    return found


def read_catalog(folders: Sequence[Path | str]) -> Catalog:
    """Read and validate the catalog of ``folders``; ``ConfigurationError`` lists every problem of every file."""
    sections: dict[str, dict[str, Entry]] = {section: {} for section in SECTIONS}
    prompts: dict[str, Prompt] = {}
    lock: dict[str, Mapping[str, Any]] = {}
    problems: list[str] = []
    for named, folder in catalog_folders(folders):
        if not folder.is_dir():
            raise UserError(f"the catalog folder {named} does not exist: fix `catalog:` in the configuration.")
        for section in SECTIONS:
            path = folder / f"{section}.yaml"
            if path.is_file():
                entries = {name: _given(entry, section) for name, entry in read_yaml(path).items()}
                found = problems_of(CatalogFiles, {section: entries})
                problems += [f"{folder}/{each.replace(section, path.name, 1)}" for each in found]
                if section in {"sources", "benchmarks"}:
                    for name, entry in entries.items():
                        if isinstance(entry, dict):
                            problems += entry_problems(entry, f"{path}.{name}")
                            problems += [f"{path}.{name}: it {each}" for each in grader_problems(entry)]
                if section == "models":
                    problems += model_problems(path, entries)
                sections[section] |= entries
        for path in sorted((folder / "prompts").glob("*.md")):
            text = path.read_bytes().decode(errors="replace")
            prompts[path.stem] = Prompt(str(named / "prompts" / path.name), text_digest(text), text)
        if (folder / "lock.yaml").is_file():
            for kind, pins in read_yaml(folder / "lock.yaml").items():
                lock[kind] = {**lock.get(kind, {}), **(pins or {})}
    if problems:
        raise ConfigurationError(problems)
    return Catalog(**sections, prompts=prompts, lock=lock)


NULLABLE = {
    "sources": Questions.execution_keys(),
    "benchmarks": Questions.execution_keys(),
    "models": frozenset(Model.model_fields) - {"quantization"},
}
"""Keys of entries in which null is the same as no key. In others null is part of ids, as it is written."""


def _given(entry: Any, section: str) -> Any:
    """An entry without its nulls, and without those of its blocks, so that whoever reads it finds a value or no key."""
    keys = NULLABLE.get(section, frozenset())
    if not isinstance(entry, dict):
        return entry
    given = {key: value for key, value in entry.items() if value is not None or key not in keys}
    for key, block in given.items():
        if key in keys and isinstance(block, dict):
            given[key] = {name: value for name, value in block.items() if value is not None}
    return given


def model_problems(path: Path, entries: Mapping[str, Any]) -> list[str]:
    """Names of templates and tokenizers in entries of models that there are not."""
    problems = []
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            continue
        template, tokenizer = entry.get("template"), entry.get("tokenizer")
        if isinstance(template, str) and template not in TEMPLATES:
            guess = did_you_mean(template, TEMPLATES)
            problems.append(f"{path}.{name}.template: LLaMA-Factory has no template '{template}'{guess}")
        if isinstance(tokenizer, str) and not is_tokenizer(tokenizer):
            guess = did_you_mean(tokenizer, [QWEN])
            problems.append(f"{path}.{name}.tokenizer: there is no tokenizer '{tokenizer}'{guess}")
    return problems


def grader_problems(entry: Entry) -> list[str]:
    """What is wrong with the ``grader`` of an entry, each as a predicate of it; empty where it is ``none``."""
    name = entry.get("grader", "none")
    if name == "none":
        return []
    if name not in GRADERS:
        return [f"is graded by {name!r}, which is not a grader{did_you_mean(name, [*GRADERS, 'none'])}"]
    grader, connector = GRADERS[name], CONNECTORS.get(str(entry.get("connector")))
    problems = []
    if grader.asks_judge and "judge" not in entry:
        problems.append("is graded by a judge: say which with `judge: {model, prompt}`")
    if grader.needs_reference and connector and not connector.has_reference(entry):
        problems.append(f"is graded by {name}, which needs a `reference`: name the column of the right answers")
    known = connector.metadata_names(entry) if connector else None
    if known is not None and (missing := sorted(set(grader.metadata) - known)):
        problems.append(f"is graded by {name}, which needs `{missing[0]}` of every question: name its column")
    return problems


ContentOf = Callable[[str], str]

LARGE_BYTES = 64_000_000
"""Files from this size on are known by name, size and time, not by content: the plan is read by every job."""


def content_of(path: str) -> str:
    """Digest of a local file or of a folder of files: the pin of what lies on this machine."""
    root = located(path)
    files = sorted(item for item in root.rglob("*") if item.is_file()) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise UserError(f"{path} does not exist: fix the `path` of the catalog entry that names it.")
    total = hashlib.sha256()
    for item in files:
        total.update(f"{item.relative_to(root)}\0".encode())
        status = item.stat()
        if status.st_size >= LARGE_BYTES:
            total.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        else:
            total.update(bytes.fromhex(file_sha256(item)))
    return total.hexdigest()[:32]


def local_pins(entry: Entry, content: ContentOf) -> list[str]:
    """What an entry takes from this machine, at whatever depth: contents of files, versions of packages."""
    pins: list[str] = []
    if entry.get("kind") == "folder":
        pins.append(content(entry["path"]))
    connector = CONNECTORS.get(entry.get("connector", ""))
    if connector is not None:
        pins += [content(path) for path in connector.local_paths(entry)]
        if connector.package is not None:
            pins.append(f"{connector.package}=={metadata.version(connector.package)}")
    for value in entry.values():
        if isinstance(value, Mapping):
            pins += local_pins(value, content)
    return pins
