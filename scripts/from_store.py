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

from openthoughts.base.cli import command
from openthoughts.costs.remaining import write_stored
from openthoughts.plan.plan_file import add_plan_arguments, configured
from openthoughts.plan.shards import asked_shards


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write what is complete and say how much that was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_plan_arguments(parser)
    options = parser.parse_args(argv)
    of = configured(options)
    logging.getLogger("openthoughts.inference.completions").setLevel(logging.WARNING)
    found = Counter(write_stored(shard, of.store, of.settings.max_failed) for shard in asked_shards(of.plan))
    print(
        f"{found['written']} shards written from {of.store}; {found['there']} were there, "
        f"{found['asked']} are to be asked for, {found['early']} wait for their questions or their model."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
