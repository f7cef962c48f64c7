"""Datasets of the Hugging Face hub, each at a pinned commit; no code of a dataset is ever run.

Entry: ``dataset`` (``OWNER/NAME``), ``config``, ``split`` (default ``train``), and the keys of ``sources.columns``.

- Which files make up the split is what the dataset says of itself; ``files`` (a pattern, a list of them, or one for
  each split) names them instead, for datasets whose files no library recognises.
- ``ref``: the branch that the lock pins a commit of (default ``main``; ``refs/convert/parquet`` is the hub's own copy).
- ``parts``: several datasets, configurations or splits under one source; a part's keys come over the entry's.
- ``lookup``: the question stands in another dataset. ``dataset``, ``split`` and ``index`` name the columns that say
  where, and ``in`` says for each value of the first which dataset that is and where its question is.

Files are downloaded one at a time, resumed when the connection breaks, checked against the checksum that the hub has
of them, and read in batches.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import tenacity

from openthoughts.base.cli import UserError
from openthoughts.base.options import suggestion
from openthoughts.sources.columns import extract, needed_columns
from openthoughts.sources.files import read_file
from openthoughts.sources.rows import RAW, Entry

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

log = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)

TRIES = 3

LOST_COMMIT = "has lost its pinned commit: run `snakemake lock` to pin another."
COMMIT = re.compile(r"[0-9a-f]{40}")
URL = re.compile(r"hf://datasets/(?P<dataset>[^/]+/[^/@]+)@(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


class NotReadableError(UserError):
    """The hub does not let this user read a repository, or has none of that name."""


class UnreachableError(UserError):
    """There is no connection to the hub."""


def hub_api() -> HfApi:
    """A client of the hub, or of the mirror named by HF_ENDPOINT."""
    import datasets
    from huggingface_hub import HfApi

    return HfApi(endpoint=datasets.config.HF_ENDPOINT)


def entry_parts(entry: Entry) -> list[Entry]:
    """The parts of an entry, each with the entry's keys where it has none of its own."""
    common = {key: value for key, value in entry.items() if key != "parts"}
    return [{**common, **part} for part in entry.get("parts") or [{}]]


def entry_datasets(entry: Entry) -> list[str]:
    """The datasets that an entry reads, each once, in the order they are named."""
    names = []
    for part in entry_parts(entry):
        if "dataset" not in part:
            raise UserError("a part names no dataset: add `dataset: OWNER/NAME`.")
        names.append(part["dataset"])
        names += [other["dataset"] for other in part.get("lookup", {}).get("in", {}).values()]
    return list(dict.fromkeys(names))


def pinned_commits(entry: Entry, revision: str | None) -> dict[str, str]:
    """Dataset -> commit of every dataset of an entry.

    ``revision`` is a commit, or ``DATASET@COMMIT`` of each, joined by commas. Raises ``UserError`` for a dataset
    without a commit.
    """
    names = entry_datasets(entry)
    pins = dict(pin.split("@", 1) for pin in (revision or "").split(",") if "@" in pin)
    if revision and not pins:
        pins = {names[0]: revision}
    for name in names:
        if not COMMIT.fullmatch(pins.get(name, "")):
            raise UserError(f"{name} is not pinned to a commit: run `snakemake lock`, then again.")
    return pins


def _is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError) and error.response.status_code >= 500


def user_errors(dataset: str, request: Any) -> Any:
    """``request()``, with the hub's refusals as one sentence each.

    The hub's client tries a failed download again, but not every other request: those are tried ``TRIES`` times here.
    """
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=tenacity.wait_exponential(multiplier=0.25, max=30),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        )(request)
    except GatedRepoError as error:
        raise NotReadableError(
            f"{dataset} is gated: accept its terms on its page and set HF_TOKEN to your token."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{dataset} {LOST_COMMIT}") from error
    except RepositoryNotFoundError as error:
        raise NotReadableError(f"the hub has no {dataset}, or it is private: fix the name or set HF_TOKEN.") from error
    except (HfHubHTTPError, httpx2.TransportError, LocalEntryNotFoundError, ConnectionError) as error:
        # The client calls it a missing local copy when the hub refuses to say what a file is.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        if not isinstance(cause, HfHubHTTPError):
            raise UnreachableError(
                f"the hub cannot be reached for {dataset} ({type(error).__name__}): fetch it where it can."
            ) from error
        status = cause.response.status_code
        if status in (401, 403):
            raise NotReadableError(
                f"the hub refuses {dataset} ({status}): accept its terms and set HF_TOKEN."
            ) from error
        raise UserError(f"the hub answers {dataset} with status {status}: try again later.") from error


def check_access(repository: str, kind: str) -> None:
    """Ask the hub whether this user may read a repository (``dataset`` or ``model``).

    Raises ``NotReadableError`` where not, and ``UserError`` where the hub does not say.
    """
    user_errors(repository, lambda: hub_api().auth_check(repository, repo_type=kind))


def model_config(repository: str, commit: str) -> dict[str, Any]:
    """The ``config.json`` of a model at a commit; empty where it has none, or none that can be read."""
    from huggingface_hub.errors import EntryNotFoundError

    def fetched() -> str | None:
        try:
            return hub_api().hf_hub_download(repository, "config.json", revision=commit)
        except EntryNotFoundError:
            return None

    path = user_errors(repository, fetched)
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except ValueError:
        config = {}
    return config if isinstance(config, dict) else {}


@functools.lru_cache(maxsize=64)
def _repository_files(dataset: str, commit: str) -> dict[str, RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    def listed() -> list[Any]:
        return list(hub_api().list_repo_tree(dataset, recursive=True, revision=commit, repo_type="dataset"))

    return {one.path: one for one in user_errors(dataset, listed) if isinstance(one, RepoFile)}


def _named_files(part: Entry, commit: str) -> list[str]:
    """The files that the part's ``files`` names, in the order of the patterns, then of their names."""
    patterns = part["files"]
    if isinstance(patterns, Mapping):
        split = part.get("split", "train")
        if split not in patterns:
            raise UserError(f"{part['dataset']}: `files` has no split {split!r}{suggestion(split, patterns)}.")
        patterns = patterns[split]
    known = sorted(_repository_files(part["dataset"], commit))
    found: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matching = [path for path in known if fnmatch.fnmatchcase(path, pattern)]
        if not matching:
            raise UserError(f"{part['dataset']} has no file {pattern}{suggestion(pattern, known)}.")
        found += matching
    return list(dict.fromkeys(found))


def _split_files(part: Entry, commit: str) -> list[str]:
    """The files of the part's split, as the dataset's card or the names of its files say."""
    import datasets

    dataset, split = part["dataset"], part.get("split", "train")

    def builder() -> Any:
        return datasets.load_dataset_builder(dataset, part.get("config"), revision=commit)

    try:
        data_files = user_errors(dataset, builder).config.data_files or {}
    except datasets.exceptions.DatasetNotFoundError as error:
        if "Revision" in str(error):
            raise UserError(f"{dataset} {LOST_COMMIT}") from error
        raise UserError(f"the hub has no dataset {dataset}, or it is gated: fix the name or set HF_TOKEN.") from error
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{dataset}: {reason}: fix `config`, or name the `files` to read.") from error
    if split not in data_files:
        splits = ", ".join(map(str, data_files))
        raise UserError(f"{dataset} has no split {split!r}{suggestion(split, map(str, data_files))}: it has {splits}.")
    paths = []
    for url in data_files[split]:
        match = URL.fullmatch(url)
        if match is None:
            raise UserError(f"{dataset} refers to {url} outside of its repository: name the `files` to read.")
        paths.append(match["path"])
    return paths


def part_files(part: Entry, commit: str) -> list[str]:
    """Paths, in the dataset's repository, of the files a part reads, in their order."""
    return _named_files(part, commit) if "files" in part else _split_files(part, commit)


def _checksum_holds(path: Path, known: RepoFile) -> bool:
    """Whether a downloaded file is the one the hub has: SHA-256 of large files, git's own hash of small ones."""
    with path.open("rb") as file:
        if known.lfs is not None:
            return hashlib.file_digest(file, "sha256").hexdigest() == known.lfs.sha256
        digest = hashlib.sha1(f"blob {known.size}\0".encode(), usedforsecurity=False)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == known.blob_id


def download(dataset: str, commit: str, path: str) -> Path:
    """The local copy of a dataset's file, downloaded where it is not there yet, and checked.

    Raises ``UserError`` when what arrives is not, even the second time, what the hub says it should be.
    """
    known = _repository_files(dataset, commit)[path]
    for again in (False, True):

        def fetch(again: bool = again) -> str:
            return hub_api().hf_hub_download(dataset, path, revision=commit, repo_type="dataset", force_download=again)

        local = Path(user_errors(dataset, fetch))
        if _checksum_holds(local, known):
            return local
        log.warning("%s of %s is not what the hub has: downloading it again", path, dataset)
    raise UserError(f"{path} of {dataset} arrives damaged (its checksum differs): try again, or another connection.")


def _batches(part: Entry, commit: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    """The named columns of a part's rows."""
    for path in part_files(part, commit):
        yield from read_file(download(part["dataset"], commit, path), columns, part.get("format"))


class Lookup:
    """Questions that stand in other datasets, found by dataset, split and row number.

    A split's questions are held in memory from its first use.
    """

    def __init__(self, specification: Mapping[str, Any], pins: Mapping[str, str]) -> None:
        self.columns = [specification[key] for key in ("dataset", "split", "index")]
        self._datasets = specification["in"]
        self._pins = pins
        self._questions: dict[tuple[str, str], list[str | None]] = {}

    def _split(self, name: str, split: str) -> list[str | None]:
        if name not in self._datasets:
            raise UserError(f"`lookup` says nothing of the dataset {name!r}: add it under `in`.")
        part = {**self._datasets[name], "split": split}
        batches = _batches(part, self._pins[part["dataset"]], needed_columns(part))
        return [text for batch in batches for text in extract(batch, part, 0)["question"]]

    def question(self, name: str, split: str, index: str) -> str | None:
        """The question of one row, null where its dataset has none.

        Raises ``UserError`` for a dataset, split or row that is not there.
        """
        key = (name, split)
        if key not in self._questions:
            self._questions[key] = self._split(name, split)
        rows = self._questions[key]
        if not 0 <= int(index) < len(rows):
            raise UserError(f"row {index} of {name} [{split}] is looked up, which has {len(rows)}: fix its pin.")
        return rows[int(index)]


def _looked_up(part: Entry, commit: str, lookup: Lookup, prefix: str) -> Iterator[pl.DataFrame]:
    row = 0
    for batch in _batches(part, commit, lookup.columns):
        questions = [lookup.question(*map(str, place)) for place in batch.select(lookup.columns).iter_rows()]
        yield pl.DataFrame(
            {
                "source_row": [f"{prefix}{number}" for number in range(row, row + batch.height)],
                "question": questions,
                "reference_answer": [None] * batch.height,
                "metadata": ["{}"] * batch.height,
            },
            schema=dict.fromkeys(RAW, pl.String),
        )
        row += batch.height


def _prefix(part: Entry, many: bool) -> str:
    """What comes before the row number where a source has several parts: what tells the part from the others."""
    files = part.get("files")
    names = [part["dataset"], part.get("config"), files if isinstance(files, str) else part.get("split", "train")]
    return "/".join(str(name) for name in names if name) + ":" if many else ""


def read(entry: Entry, revision: str | None) -> Iterator[pl.DataFrame]:
    """Yield the rows of the entry's parts; the key is the row's number in its split, after ``PART:`` of several."""
    pins, parts = pinned_commits(entry, revision), entry_parts(entry)
    for part in parts:
        commit, prefix = pins[part["dataset"]], _prefix(part, len(parts) > 1)
        if "lookup" in part:
            yield from _looked_up(part, commit, Lookup(part["lookup"], pins), prefix)
            continue
        row = 0
        for batch in _batches(part, commit, needed_columns(part)):
            yield extract(batch, part, row, prefix)
            row += batch.height


def commit_of(repository: str, ref: str, kind: str) -> str:
    """The commit that a branch of a repository of the hub (``dataset`` or ``model``) stands at now."""

    def request() -> Any:
        return hub_api().repo_info(repository, revision=ref, repo_type=kind)

    return str(user_errors(repository, request).sha)


def commits_of(entry: Entry) -> str:
    """The commit of an entry's dataset as it is now, or ``DATASET@COMMIT`` of several joined by commas."""
    refs = {part["dataset"]: part.get("ref", "main") for part in entry_parts(entry)}
    commits = {name: commit_of(name, refs.get(name, "main"), "dataset") for name in entry_datasets(entry)}
    if len(commits) == 1:
        return next(iter(commits.values()))
    return ",".join(f"{name}@{commit}" for name, commit in sorted(commits.items()))
