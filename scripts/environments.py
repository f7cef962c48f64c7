"""Build the environments that engines run in.

``environments.py NAME...`` builds each one that is not there yet (``openthoughts/base/environments.py`` says which
files describe an environment); built ones are found in no time. ``--pin`` pins NAME again instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from openthoughts.base.cli import command
from openthoughts.base.environments import build, names, pin


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Build (or pin) the named environments and print their folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"one of: {', '.join(names())}")
    parser.add_argument("--pin", action="store_true", help="make envs/NAME.txt of envs/NAME.in instead of building")
    options = parser.parse_args(argv)
    for name in options.names:
        print(pin(name) if options.pin else build(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
