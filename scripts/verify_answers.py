"""Ask a model whether each answer of one shard is right: a structured verdict with its reasons.

One request per answer that says something after its reasoning; ``read_assessments`` reads the verdicts out of the raw
answers, which are the output.
"""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["verify_answers"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
