"""Ask a judge about each answer that a model gave to a benchmark: does it pass, by the rubric of the prompt?

The prompt has {{ question }} and {{ response }}; the response is what follows the model's reasoning. An answer that
never came to an end of its reasoning, or failed, is not judged: there is nothing to judge.
"""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["judge_answers"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
