"""Train a fastText classifier on good and bad examples: questions of sources, or answers of a model.

The same examples and parameters give the same classifier on the same machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command, json_object
from openthoughts.base.tables import write_text
from openthoughts.questions.classifier import PARAMETERS, train
from openthoughts.questions.examples import example_texts
from openthoughts.questions.selection import wanted


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positives", type=Path, nargs="+", required=True, help="tables of good examples")
    parser.add_argument("--negatives", type=Path, nargs="+", required=True, help="tables of bad examples")
    parser.add_argument("--parameters", required=True, metavar="JSON", help=f"{', '.join(PARAMETERS)}")
    parser.add_argument("--most", required=True, help="most texts per table, or all")
    parser.add_argument("--seed", type=int, required=True, help="seed of the draw of texts")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True, help="what it was made of (JSON)")
    options = parser.parse_args(argv)
    parameters = json_object(options.parameters, "--parameters")
    if set(parameters) != set(PARAMETERS):
        raise UserError(f"--parameters is {options.parameters}: give {', '.join(PARAMETERS)}.")
    most = wanted(options.most, "--most")
    good, bad = (example_texts(paths, most, options.seed) for paths in (options.positives, options.negatives))
    counts = train(good, bad, parameters, options.output)
    write_text(json.dumps(counts, indent=2) + "\n", options.summary)
    logging.info(
        "%s: %d good and %d bad texts, %d words", options.output, *(counts[k] for k in ("good", "bad", "words"))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
