"""Label the questions of one shard by their embeddings: how much more they are like good than like bad examples."""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["embed_questions"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
