"""List the results that no configured recipe uses, with their size; ``--remove`` deletes them.

Only folders of the workflow's own stages are looked at; the completion store is never touched, so what is removed here
can be made again without paying again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.cli import command
from lib.plan import KINDS


def unused(results: Path, used: set[str]) -> Iterator[Path]:
    """Stage folders below ``results`` whose id ends in none of the hashes ``used``, in order."""
    for kind in dict.fromkeys(kind.folder for kind in KINDS.values()):
        for folder in sorted((results / kind).glob("*-????????????")):
            if folder.is_dir() and folder.name.rpartition("-")[2] not in used:
                yield folder


def size(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


@command
def main(argv: Sequence[str] | None = None) -> int:
    """List, and where asked remove, unused results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the results")
    parser.add_argument("--used", nargs="*", default=[], help="hashes of the stages that are used")
    parser.add_argument("--remove", action="store_true", help="delete what is listed")
    options = parser.parse_args(argv)
    total = 0
    for folder in unused(options.results, set(options.used)):
        bytes_ = size(folder)
        total += bytes_
        print(f"{bytes_ / 1e6:10.1f} MB  {folder}")
        if options.remove:
            shutil.rmtree(folder)
    print(f"{total / 1e6:10.1f} MB  {'removed' if options.remove else 'unused'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
