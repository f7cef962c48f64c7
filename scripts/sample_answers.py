"""Ask the teacher for the answers of one shard of the drawn questions.

Occurrence j of a question gets samples j * n to j * n + n - 1. The output has a row for every sample, failed ones too,
ordered by (question_id, sample).
"""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["sample_answers"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
