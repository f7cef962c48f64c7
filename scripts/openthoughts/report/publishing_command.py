"""The command line that ``publish_dataset`` and ``publish_model`` share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from openthoughts.report.manifest import Recipe
from openthoughts.report.publishing import Publication, card, check_licences, described, finished, upload


def publish(
    argv: Sequence[str] | None, about: str | None, kind: str, files_of: Callable[[Recipe], Mapping[str, Path]]
) -> int:
    """Check every recipe first, then publish one after the other, and print where they are."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipes", required=True, help="JSON list: manifest, repository, private, stages (KIND/ID), config"
    )
    parser.add_argument("--licences", default="null", help="JSON list of licences that are allowed; null for all")
    parser.add_argument("--check", action="store_true", help="send nothing: print the card and the files")
    options = parser.parse_args(argv)
    ready = []
    for publication in Publication.read(options.recipes):
        recipe = finished(publication)
        check_licences(recipe, json.loads(options.licences), publication.private)
        texts = described(recipe, publication.config, publication.manifest)
        ready.append((publication, files_of(recipe), {"README.md": card(recipe, kind).encode(), **texts}))
    for publication, files, texts in ready:
        if options.check:
            print(texts["README.md"].decode())
            print("\n".join(sorted([*files, *texts])), file=sys.stderr)
        else:
            commit = upload(publication, kind, files, texts)
            print(f"{publication.repository} is at {commit}.")
    return 0
