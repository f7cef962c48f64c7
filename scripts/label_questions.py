"""Ask a model about every distinct question of one shard: how hard it is, how much it is worth, or for an answer.

One request per question; the raw answers are the output, ``parse_labels`` reads the labels out of them. With
``--attempts`` above 1, an answer that cannot be read is asked for again, as the question's next sample.
"""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["label_questions"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
