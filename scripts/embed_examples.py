"""Find the direction from bad to good examples in the space of a sentence model: the difference of their means."""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["embed_examples"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
