"""Ask a model all its benchmarks, in one job with one engine.

The output has a row for every (benchmark, question, sample), in this order.
"""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["sample_evaluation"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
