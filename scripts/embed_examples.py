"""Find the direction from bad to good examples in the space of a sentence model: the difference of their means."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.base.tables import write_text
from openthoughts.inference.job import add_arguments, read_asking
from openthoughts.questions.embeddings import direction, embed
from openthoughts.questions.examples import example_texts
from openthoughts.questions.selection import wanted


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positives", type=Path, nargs="+", required=True, help="tables of good examples")
    parser.add_argument("--negatives", type=Path, nargs="+", required=True, help="tables of bad examples")
    parser.add_argument("--most", required=True, help="texts of a table at the most, or all")
    parser.add_argument("--seed", type=int, required=True, help="seed of the draw of texts")
    parser.add_argument("--output", type=Path, required=True, help="direction.json")
    add_arguments(parser, sampled=False)
    options = parser.parse_args(argv)
    asking = read_asking(options)
    most = wanted(options.most, "--most")
    good, bad = (example_texts(paths, most, options.seed) for paths in (options.positives, options.negatives))
    both = embed([*good, *bad], asking, options.output.parent)
    if both is None:
        return 0
    parts = [
        type(both)(both.vectors[part], both.errors[part], both.usage)
        for part in (slice(0, len(good)), slice(len(good), len(good) + len(bad)))
    ]
    found = {"direction": direction(*parts), "good": len(good), "bad": len(bad), **both.usage.to_json()}
    write_text(json.dumps(found) + "\n", options.output)
    logging.info("%s: %d good and %d bad examples", options.output, len(good), len(bad))
    return 0


if __name__ == "__main__":
    sys.exit(main())
