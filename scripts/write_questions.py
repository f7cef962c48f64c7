"""Ask a model about one shard of a source's documents, or of the questions made of them: a writing step.

One request per distinct text; the raw answers are the output, ``read_written`` reads the questions out of them.
"""

from __future__ import annotations

import sys

from openthoughts.asking.programs import PROGRAMS

main = PROGRAMS["write_questions"].command(__doc__)


if __name__ == "__main__":
    sys.exit(main())
