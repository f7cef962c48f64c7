"""The command line that ``publish_dataset`` and ``publish_model`` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from openthoughts.plan.plan_file import read_plan
from openthoughts.report.manifest import Recipe
from openthoughts.report.publishing import card, check_licences, described, finished, publications, upload


def publish(
    argv: Sequence[str] | None, about: str | None, kind: str, files_of: Callable[[Recipe], Mapping[str, Path]]
) -> int:
    """Check every recipe first, then publish one after the other, and print where they are."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True, help="plan that the workflow wrote")
    parser.add_argument("--check", action="store_true", help="send nothing: print the card and the files")
    options = parser.parse_args(argv)
    ready = []
    of = read_plan(options.plan)
    for publication in publications(of, kind):
        recipe = finished(publication)
        check_licences(recipe, of.config.get("licences"), publication.private)
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
