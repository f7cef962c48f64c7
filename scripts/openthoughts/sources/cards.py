"""What the cards of datasets of the hub say of their splits."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from openthoughts.sources.hub import entry_parts, hub_api, pinned_commits, user_errors
from openthoughts.sources.rows import Entry


def told_rows(entry: Entry, revision: str) -> int | None:
    """Rows of the splits that an entry reads, by the cards of its datasets at their commits; null where one is silent.

    Raises ``UserError`` where a card cannot be had.
    """
    commits = pinned_commits(entry, revision)
    rows = [_card_rows(part, commits[part["dataset"]]) for part in entry_parts(entry)]
    return None if None in rows else sum(filter(None, rows))


def _card_rows(part: Entry, commit: str) -> int | None:
    """Rows of a part's split by the ``dataset_info`` of the dataset's card; null where only some files are read."""
    if part.get("files") is not None:
        return None
    told = _card_info(part["dataset"], commit)
    infos = [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, Mapping)]
    wanted = part.get("config")
    named = [one for one in infos if one.get("config_name", "default") == (wanted or "default")]
    splits = (named or (infos if len(infos) == 1 and wanted is None else [{}]))[0].get("splits")
    for split in splits if isinstance(splits, list) else []:
        if isinstance(split, Mapping) and split.get("name") == part.get("split", "train"):
            rows = split.get("num_examples")
            return rows if isinstance(rows, int) else None
    return None


@functools.lru_cache(maxsize=64)
def _card_info(dataset: str, commit: str) -> Any:
    """``dataset_info`` of a dataset's card at a commit; null where it has none."""
    from huggingface_hub import DatasetCard
    from huggingface_hub.errors import EntryNotFoundError

    def fetched() -> str | None:
        try:
            return hub_api().hf_hub_download(dataset, "README.md", revision=commit, repo_type="dataset")
        except EntryNotFoundError:
            return None

    path = user_errors(dataset, fetched)
    if path is None:
        return None
    try:
        card = DatasetCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True)
    except (ValueError, TypeError, yaml.YAMLError):
        return None
    return card.data.get("dataset_info")
