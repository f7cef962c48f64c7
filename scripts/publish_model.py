"""Publish the student of a finished recipe to the hub: private unless said otherwise, and resumable.

The repository gets the weights, a card written from the manifest (what it was trained on, licences, scores, how to make
it again), the configuration, the lock and the manifest. Refused are recipes that this configuration would make
otherwise than they were, and licences that are not allowed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from openthoughts.base.cli import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    from openthoughts.report.publishing import MODEL, model_files
    from openthoughts.report.publishing_command import publish

    return publish(argv, __doc__, MODEL, model_files)


if __name__ == "__main__":
    sys.exit(main())
