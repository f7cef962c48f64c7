"""The lock: each dataset and model of the catalog pinned to a commit or checksum.

``lock.yaml`` maps ``sources``, ``benchmarks`` and ``models`` to names, and a name to ``{revision: …}``: a commit,
several (``DATASET@COMMIT`` joined by commas) where an entry reads several datasets, or the SHA-256 of a file.
``architectures`` holds what the ``config.json`` of models of the hub says of their cost, at the commit, ``source_rows``
and ``benchmark_rows`` how many rows the cards of datasets of the hub give the splits that are read; they are no pins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from openthoughts.base.cli import UserError
from openthoughts.base.files import write_text
from openthoughts.base.options import suggestion
from openthoughts.models.architecture import Architecture
from openthoughts.sources import cards, hub
from openthoughts.sources.connectors import CONNECTORS
from openthoughts.sources.entries import counted_rows, fetched_entry
from openthoughts.sources.noted import ARCHITECTURES, noted_rows

log = logging.getLogger(__name__)

Pins = dict[str, dict[str, Any]]
FAR_OFF = 1.5
"""Factor from which on the ``rows`` of the catalog are said to differ from those of a dataset."""

Entry = Mapping[str, Any]

HEAD = (
    "# Written by `snakemake lock`: the commits and checksums of what the catalog names. Keep it in version control.\n"
)


def pin_of(entry: Entry) -> dict[str, str] | None:
    """The pin of a catalog entry as it is now, None for what needs none (packages, local files, APIs).

    Raises ``UserError`` when the hub or the dump's server does not have it.
    """
    entry = fetched_entry(entry)
    if entry.get("kind") == "hub":
        return {"revision": hub.commit_of(entry["repository"], "main", "model")}
    connector = CONNECTORS.get(entry.get("connector", ""))
    revision = connector.revision(entry) if connector else None
    return None if revision is None else {"revision": revision}


def read_lock(path: Path) -> Pins:
    """The pins of a lock file, none where it does not exist."""
    if not path.exists():
        return {}
    try:
        pins = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: restore it from version control, or delete it and lock again.") from error
    return {section: dict(names or {}) for section, names in pins.items()}


def write_lock(pins: Pins, path: Path) -> None:
    """Write pins sorted by section and name, so that the same pins give the same bytes."""
    whole = {section: dict(sorted(names.items())) for section, names in sorted(pins.items()) if names}
    write_text(HEAD + yaml.safe_dump(whole, sort_keys=True, width=1000), path)


def note_architectures(pins: Pins, models: Mapping[str, Entry], update: bool) -> None:
    """Note the architectures of models of the hub that are pinned, where they are not known yet or ``update`` asks."""
    noted = pins.setdefault(ARCHITECTURES, {})
    for name, entry in sorted(models.items()):
        pin = pins.get("models", {}).get(name)
        if pin is None or entry.get("kind") != "hub" or "architecture" in entry or (name in noted and not update):
            continue
        try:
            config = hub.model_config(entry["repository"], pin["revision"])
            noted[name] = Architecture.from_config(config).model_dump(mode="json", exclude_unset=True)
        except UserError as error:
            log.warning("models %s: its architecture stays unknown, and so do its GPU-hours: %s", name, error)
        except (ValidationError, TypeError):
            log.warning("models %s: its config.json does not say how fast it is: GPU-hours stay unknown", name)


def note_rows(pins: Pins, kind: str, entries: Mapping[str, Entry], renewed: Iterable[str]) -> None:
    """Note how many rows the pinned datasets of the hub have by their cards, and tell where the catalog is far off.

    Asked are those that are pinned anew (``renewed``) and those whose rows nothing says yet. A card that says nothing
    or cannot be had leaves them unknown.
    """
    noted = pins.setdefault(noted_rows(kind), {})
    for name, entry in sorted(entries.items()):
        fetched, pin = fetched_entry(entry), pins.get(f"{kind}s", {}).get(name)
        if pin is None or fetched.get("connector") != "hub":
            continue
        if name in renewed or (name not in noted and "rows" not in entry):
            noted.pop(name, None)
            try:
                rows = cards.told_rows(fetched, pin["revision"])
            except UserError as error:
                log.warning("%ss %s: its rows stay unknown: %s", kind, name, error)
                continue
            noted |= {} if rows is None else {name: rows}
        counted, said = counted_rows(entry, noted.get(name)), entry.get("rows")
        rows = counted.rows if counted else None
        is_same = entry is fetched and "where" not in entry
        if rows and said and is_same and max(rows, said) > FAR_OFF * min(rows, said):
            told = f"the catalog says {said:,} rows, the card of its dataset {rows:,}: correct `rows`"
            log.warning("%ss %s: %s", kind, name, told)


def selected(section: str, entries: Mapping[str, Entry], names: Iterable[str] | None) -> dict[str, Entry]:
    """The entries of these names, all for None. Raises ``UserError`` for a name that the catalog does not have."""
    if names is None:
        return dict(entries)
    for name in names:
        if name not in entries:
            raise UserError(f"the catalog's {section} have no {name!r}{suggestion(name, entries)}.")
    return {name: entries[name] for name in names}


def lock(wanted: Mapping[str, Mapping[str, Entry]], path: Path, update: bool) -> int:
    """Pin the entries (section -> name -> entry) that the lock has no pin of, all of them with ``update``.

    Each pin is written as soon as it is known, so what is cut short goes on. Returns the number of new pins. Raises
    ``UserError`` with the names of those that cannot be pinned, after the others.
    """
    pins, new = read_lock(path), 0
    renewed: dict[str, set[str]] = {}
    failed: list[str] = []
    for section, entries in sorted(wanted.items()):
        known = pins.setdefault(section, {})
        for name, entry in sorted(entries.items()):
            if name in known and not update:
                continue
            try:
                pin = pin_of(entry)
            except UserError as error:
                log.warning("%s %s: %s", section, name, error)
                failed.append(name)
                continue
            if pin is not None and known.get(name) != pin:
                log.info("%s %s: %s", section, name, pin["revision"])
                known[name] = pin
                renewed.setdefault(section, set()).add(name)
                new += 1
                write_lock(pins, path)
    note_architectures(pins, wanted.get("models", {}), update)
    note_rows(pins, "source", wanted.get("sources", {}), renewed.get("sources", ()))
    note_rows(pins, "benchmark", wanted.get("benchmarks", {}), renewed.get("benchmarks", ()))
    write_lock(pins, path)
    if failed:
        raise UserError(f"not pinned: {', '.join(failed)}: the log says why; fix their entries and lock again.")
    return new
