"""List the results that no configured recipe or experiment uses, with their size; ``--remove`` deletes them.

Only folders of the workflow's own stages are looked at; the completion store is never touched, so what is removed here
can be made again without paying again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.plan.plan_file import PLANS, add_plan_arguments, configured
from openthoughts.plan.register import KINDS


def unused(results: Path, used: set[str]) -> Iterator[Path]:
    """Stage folders below ``results`` whose id ends in none of the hashes ``used``, in order."""
    for kind in dict.fromkeys(kind.folder for kind in KINDS.values()):
        for folder in sorted((results / kind).glob("*-????????????")):
            if folder.is_dir() and folder.name.rpartition("-")[2] not in used:
                yield folder


def old_plans(results: Path, plan: Path | None) -> Iterator[Path]:
    """The plans that the workflow wrote for other configurations, and lists of arguments; both are written again."""
    for file in sorted((results / PLANS).glob("[!.]*")):
        if plan is None or file.name != plan.name:
            yield file


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


@command
def main(argv: Sequence[str] | None = None) -> int:
    """List, and where asked remove, unused results."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_plan_arguments(parser)
    parser.add_argument("--remove", action="store_true", help="delete what is listed")
    options = parser.parse_args(argv)
    of = configured(options)
    used = {identity.rpartition("-")[2] for _, identity in of.everything().index}
    total = 0
    results = Path(of.plan.results)
    for path in (*unused(results, used), *old_plans(results, options.plan)):
        bytes_ = size(path)
        total += bytes_
        print(f"{bytes_ / 1e6:10.1f} MB  {path}")
        if options.remove:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{total / 1e6:10.1f} MB  {'removed' if options.remove else 'unused'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
