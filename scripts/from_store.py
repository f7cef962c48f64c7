"""Write every shard that is complete in the completion store, before anything is submitted for it.

Sends no requests and books nothing. A shard whose questions or model are not there yet is left for later, and so is one
that the store does not hold in full: the next run of the workflow asks for what is missing of it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.costs.remaining import write_stored
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.shards import asked_shards


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
    found = Counter(write_stored(shard, store, config.get("max_failed", 0.01)) for shard in asked_shards(plan))
    print(
        f"{found['written']} shards written from {store}; {found['there']} were there, "
        f"{found['asked']} are to be asked for, {found['early']} wait for their questions or their model."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
