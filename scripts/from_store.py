"""Write every shard that is complete in the completion store, before anything is submitted for it.

Asks nobody and books nothing. A shard whose questions or model are not there yet is left for later, and so is one that
the store does not hold in full: the next run of the workflow asks for what is missing of it.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.shards import Shard, asked_shards


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write what is complete and say how much that was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, nargs="+", required=True, help="configuration files, the last one wins")
    parser.add_argument("--set", default="{}", metavar="JSON", help="settings laid over them")
    options = parser.parse_args(argv)
    config = read_config(options.config, options.set)
    plan = make_plan(config, read_catalog(config.get("catalog", ["catalog"])))
    store = Path(config.get("store", "store"))
    logging.getLogger("openthoughts.inference.completions").setLevel(logging.WARNING)
    found = Counter(outcome(shard, store, config.get("max_failed", 0.01)) for shard in asked_shards(plan))
    print(
        f"{found['written']} shards written from {store}; {found['there']} were there, "
        f"{found['asked']} are to be asked for, {found['early']} wait for their questions or their model."
    )
    return 0


def outcome(shard: Shard, store: Path, max_failed: float) -> str:
    """Write one shard if the store holds all of it; what came of it in a word."""
    if Path(shard.output).exists():
        return "there"
    if not all(Path(path).exists() for path in shard.inputs):
        return "early"
    if not (store / "store.json").exists():
        return "asked"
    program = importlib.import_module(shard.program)
    how = ["--store", str(store), "--max-failed", str(max_failed), "--from-store"]
    if program.main([*shard.arguments, *how]) != 0:
        raise UserError(f"{shard.output} could not be written from the store: see above.")
    return "written" if Path(shard.output).exists() else "asked"


if __name__ == "__main__":
    sys.exit(main())
