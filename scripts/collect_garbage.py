"""List the results that no configured recipe or experiment uses, with their size; ``--remove`` deletes them.

Only folders of the workflow's own stages are looked at; the completion store is never touched, so what is removed here
can be made again without paying again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openthoughts.base.cli import command
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.register import KINDS


def unused(results: Path, used: set[str]) -> Iterator[Path]:
    """Stage folders below ``results`` whose id ends in none of the hashes ``used``, in order."""
    for kind in dict.fromkeys(kind.folder for kind in KINDS.values()):
        for folder in sorted((results / kind).glob("*-????????????")):
            if folder.is_dir() and folder.name.rpartition("-")[2] not in used:
                yield folder


def configured_hashes(config: Mapping[str, Any]) -> set[str]:
    """The hash of every stage of every configured recipe and experiment, asked for or not."""
    everything = {**config, "targets": [*config["recipes"], *config.get("experiments", {})]}
    index = make_plan(everything, read_catalog(config.get("catalog", ["catalog"]))).index
    return {identity.rpartition("-")[2] for _, identity in index}


def size(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


@command
def main(argv: Sequence[str] | None = None) -> int:
    """List, and where asked remove, unused results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, nargs="+", required=True, help="configuration files, the last one wins")
    parser.add_argument("--set", default="{}", help="settings that win over the files (JSON object)")
    parser.add_argument("--remove", action="store_true", help="delete what is listed")
    options = parser.parse_args(argv)
    config = read_config(options.config, options.set)
    total = 0
    for folder in unused(Path(config.get("results", "results")), configured_hashes(config)):
        bytes_ = size(folder)
        total += bytes_
        print(f"{bytes_ / 1e6:10.1f} MB  {folder}")
        if options.remove:
            shutil.rmtree(folder)
    print(f"{total / 1e6:10.1f} MB  {'removed' if options.remove else 'unused'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
